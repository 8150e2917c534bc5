"What holds for all tests."
import os
import pytest, torch

torch.set_num_threads(1) # the networks of these tests are tiny: on busy cores a second thread only waits


@pytest.fixture(autouse=True)
def same_folder():
    "Programs of the project change the working directory; a test that calls them leaves it as it was."
    before = os.getcwd()
    yield
    os.chdir(before)
