# Which notebook run depends on which. Every node is an executed notebook:
#
#   RESULTS/PRESET/image_generator/1_image_generator.ipynb
#     -> RESULTS/PRESET/VARIANT/seed-N/2_motion_generator.ipynb     once per variant and seed
#          -> RESULTS/PRESET/VARIANT/seed-N/3_evaluate.ipynb
#     -> RESULTS/PRESET/static/seed-0/3_evaluate.ipynb              real clips and frame 1 repeated; trains the network that measures
#          -> RESULTS/PRESET/4_tables.ipynb                         from the numbers of all the above
#
# `make reproduce` calls it. By hand, from the repository's root:
#   snakemake --cores 2 --config preset=toy_faces seeds=3
# Other settings for all runs, in a folder of their own:
#   snakemake --cores 2 --config preset=smoke results=runs/short overrides=motion.steps=10+evaluation.n_clips=48
# Several processes that share each batch, on all GPUs or on so many cores, one notebook at a time:
#   snakemake --cores 1 --config preset=ucf101 processes=4
# Several GPUs: as many notebooks at once as there are GPUs, each with one of its own (tools/run_notebook.py takes turns):
#   snakemake --cores 4 --resources gpu=4 --config preset=toy_faces seeds=3 gpus=4
# A cluster runs the same file; gpus=1 asks Slurm for one GPU a notebook:
#   snakemake --workflow-profile profiles/slurm --config preset=toy_faces seeds=3 gpus=1
#
# A result that is missing is made again: each rule names all that it writes. `update` lets a notebook find its old results,
# and keeps them where the notebook fails. Checkpoints and losses are not outputs, since Snakemake deletes the new outputs of a
# job that failed, and a training goes on from its checkpoint.
#
# No shell reads what a user typed. The request lies in an environment variable; commands hold names that were checked.
import os, sys
from mocogan_hd.experiments.arguments import REQUEST, as_json, given_request
from mocogan_hd.experiments.presets import experiment
from mocogan_hd.experiments.records import check_overrides

try:
    request = given_request(config)
    check_overrides(request.folder, request.overrides)
except (ValueError, TypeError) as e: raise WorkflowError(str(e))
os.environ.update({REQUEST: as_json(request), 'MOCOGAN_HD_PYTHON': sys.executable})

here, seeds, variants = str(request.folder), request.seeds, request.variants
network = experiment(request.preset, overrides=request.overrides).evaluation.network
one_gpu = min(request.gpus, 1)  # what a notebook takes; with 0 the resource limits nothing
source = 'nbs/3_experiments/run/{}.ipynb'.format
run = 'exec "$MOCOGAN_HD_PYTHON" tools/run_notebook.py'  # exec: the notebook's process is Snakemake's own child
run_on_gpu = run + (f' --gpus {request.gpus}' if request.gpus else '') + ' --requested'
together = f' processes={request.processes}' if request.processes > 1 else ''


def outputs(folder, *names): return [update(f'{folder}/{name}') for name in names]


wildcard_constraints:
    variant='[A-Za-z0-9_.+=-]+', seed='[0-9]+'

localrules: all

rule image_generator:
    input: source('1_image_generator')
    output: outputs(f'{here}/image_generator', '1_image_generator.ipynb', 'run.json', 'pca.safetensors', 'image_generator.safetensors')
    resources: gpu=one_gpu
    shell: run_on_gpu + ' 1_image_generator image_generator' + together

rule motion_generator:
    input: source('2_motion_generator'), rules.image_generator.output
    output: outputs(f'{here}/{{variant}}/seed-{{seed}}', '2_motion_generator.ipynb', 'run.json', 'motion_generator.safetensors')
    priority: 10  # the longest jobs first, so that no core waits for the last of them
    resources: gpu=one_gpu
    shell: run_on_gpu + ' 2_motion_generator {wildcards.variant}/seed-{wildcards.seed} variant={wildcards.variant} seed={wildcards.seed}' + together

rule evaluate_static:
    input: source('3_evaluate'), rules.image_generator.output
    output:
        outputs(f'{here}/static/seed-0', '3_evaluate.ipynb', 'evaluation.json', 'metrics.json', 'clips.gif', 'first_last.png'),
        outputs(here, 'real/seed-0/metrics.json', f'{network}.safetensors')
    resources: gpu=one_gpu
    shell: run_on_gpu + ' 3_evaluate static/seed-0 variant=static seed=0' + together

rule evaluate:
    input: source('3_evaluate'), rules.motion_generator.output, rules.evaluate_static.output  # the measuring network is trained there
    output:
        outputs(f'{here}/{{variant}}/seed-{{seed}}', '3_evaluate.ipynb', 'evaluation.json', 'metrics.json', 'clips.gif', 'same_content.gif',
                'noises.png', 'first_last.png')
    resources: gpu=one_gpu
    shell: run_on_gpu + ' 3_evaluate {wildcards.variant}/seed-{wildcards.seed} variant={wildcards.variant} seed={wildcards.seed}' + together

ruleorder: evaluate_static > evaluate

rule tables:
    input: source('4_tables'), rules.evaluate_static.output, expand(rules.evaluate.output, variant=variants, seed=seeds)
    output: outputs(here, '4_tables.ipynb', 'table.md', 'table.csv', 'metrics.csv', 'claims.csv', 'metrics.png')
    shell: run + ' --requested 4_tables .'

rule all:  # everything, so that what was deleted is made again
    default_target: True
    input:
        rules.image_generator.output, rules.evaluate_static.output, rules.tables.output,
        expand(rules.motion_generator.output + rules.evaluate.output, variant=variants, seed=seeds)
