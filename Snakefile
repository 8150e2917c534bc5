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
# Weights and resumable checkpoints lie beside the notebooks. They are not outputs of a rule, since Snakemake
# deletes the outputs of a job that failed or was interrupted, and a training goes on from its checkpoint.
import json, shlex, sys
from mocogan_hd.experiments.presets import VARIANTS, experiment, parse_overrides
from mocogan_hd.experiments.records import check_overrides

preset = str(config.get('preset', 'toy_faces'))
results = str(config.get('results', 'runs')).rstrip('/')
gpus = int(config.get('gpus', 0))  # how many this machine has; 0: notebooks run on processors
if gpus < 0: raise WorkflowError(f'gpus = {gpus}: expected 0 or more')
one_gpu = min(gpus, 1)  # what a notebook takes; with 0 the resource limits nothing
processes = int(config.get('processes', 1))  # that a notebook starts; more than one: it uses all GPUs, or so many cores
if processes < 1: raise WorkflowError(f'processes = {processes}: expected 1 or more')


def names(value):
    return [v for v in value.replace(',', ' ').split()] if isinstance(value, str) else [str(v) for v in value]


def seed_list(value):
    "a count: 3 -> 0, 1, 2; or a list: '0,2' -> 0, 2; ('2,' is seed 2 alone)"
    try: seeds = list(range(int(value))) if not isinstance(value, list) and ',' not in str(value) else [int(v) for v in names(value)]
    except ValueError: raise WorkflowError(f'seeds = {value!r}: expected a count such as 3, or a list such as 0,2')
    if not seeds or min(seeds) < 0: raise WorkflowError(f'seeds = {value!r}: expected at least one, none negative')
    return seeds


variants = names(config.get('variants', list(VARIANTS)))
seeds = seed_list(config.get('seeds', 1))
try:
    overrides = parse_overrides(str(config.get('overrides', '')))
    for v in variants: experiment(preset, v, overrides=overrides)
    check_overrides(f'{results}/{preset}', overrides)
except (ValueError, TypeError) as e: raise WorkflowError(str(e))

source = 'nbs/3_experiments/run/{}.ipynb'.format
here = f'{results}/{preset}'
run = f'"{sys.executable}" tools/run_notebook.py'
run_on_gpu = f'{run} --gpus {gpus}' if gpus else run
together = f' processes={processes}' if processes > 1 else ''
if overrides:  # doubled braces, since Snakemake fills in what stands in single ones
    together += ' ' + shlex.quote(f'overrides={json.dumps(overrides)}').replace('{', '{{').replace('}', '}}')

wildcard_constraints:
    variant='[A-Za-z0-9_.+=-]+', seed='[0-9]+'

localrules: all

rule all:  # every node, so that a notebook that was deleted is run again
    input:
        f'{here}/image_generator/1_image_generator.ipynb',
        expand(f'{here}/{{variant}}/seed-{{seed}}/{{node}}.ipynb', variant=variants, seed=seeds, node=['2_motion_generator', '3_evaluate']),
        f'{here}/static/seed-0/3_evaluate.ipynb',
        f'{here}/4_tables.ipynb'

rule image_generator:
    input: source('1_image_generator')
    output: f'{here}/image_generator/1_image_generator.ipynb'
    resources: gpu=one_gpu
    shell: run_on_gpu + ' {input[0]} {output} preset={preset} results={results}' + together

rule motion_generator:
    input: source('2_motion_generator'), rules.image_generator.output
    output: f'{here}/{{variant}}/seed-{{seed}}/2_motion_generator.ipynb'
    priority: 10  # the longest jobs first, so that no core waits for the last of them
    resources: gpu=one_gpu
    shell: run_on_gpu + ' {input[0]} {output} preset={preset} variant={wildcards.variant} seed={wildcards.seed} results={results}' + together

rule evaluate_static:
    input: source('3_evaluate'), rules.image_generator.output
    output: f'{here}/static/seed-0/3_evaluate.ipynb'
    resources: gpu=one_gpu
    shell: run_on_gpu + ' {input[0]} {output} preset={preset} variant=static seed=0 results={results}' + together

rule evaluate:
    input: source('3_evaluate'), rules.motion_generator.output, rules.evaluate_static.output  # the measuring network is trained there
    output: f'{here}/{{variant}}/seed-{{seed}}/3_evaluate.ipynb'
    resources: gpu=one_gpu
    shell: run_on_gpu + ' {input[0]} {output} preset={preset} variant={wildcards.variant} seed={wildcards.seed} results={results}' + together

ruleorder: evaluate_static > evaluate

rule tables:
    input: source('4_tables'), rules.evaluate_static.output, expand(rules.evaluate.output, variant=variants, seed=seeds)
    output: f'{here}/4_tables.ipynb'
    shell: run + ' {input[0]} {output} preset={preset} results={results}'
