"The networks of these tests are tiny: on busy cores a second thread only waits, and makes them ten times slower."
import torch

torch.set_num_threads(1)
