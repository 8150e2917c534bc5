# Two commands do everything: `make reproduce` and `make test`. Each makes .venv first, when it is missing.
PRESET   ?= claim
SEEDS    ?= 1
VARIANTS ?=
OVERRIDES ?=
CORES    ?= 2
RESULTS  ?= runs
PROCESSES ?= 1
GPUS     ?= 0
PROFILE  ?=
# What is typed reaches the programs by the environment and never through a shell: each variable is taken as it stands,
# with every quote, blank and dollar sign, and exported as GIVEN_...
ARGUMENTS := PRESET SEEDS VARIANTS OVERRIDES CORES RESULTS PROCESSES GPUS PROFILE FOLDER MINUTES RESOLUTION NAME SEED MORE PYTHON
$(foreach v,$(ARGUMENTS),$(eval override $v := $$(value $v))$(eval export GIVEN_$v := $$(value $v)))

# One thread a notebook: two notebooks of one thread do more than one notebook of two.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export PYDEVD_DISABLE_FILE_VALIDATION = 1
export PYTHONUTF8 = 1

BIN  := .venv/bin
ENV  := .venv/.installed
# exec: a signal to make reaches the program itself, and no shell in between
RUN  := exec env PATH="$$(pwd)/$(BIN):$$PATH" PYTHONNOUSERSITE=1
.PHONY: help reproduce videos faces test env lab docs readme publish clean-runs
.DEFAULT_GOAL := help

help:
	@echo "make reproduce              the paper's claim on toy faces, in-domain and cross-domain; ends with two tables"
	@echo "make reproduce PRESET=toy_faces [SEEDS=1] [CORES=2]   the notebooks of a preset, all six variants, and its table"
	@echo "                also VARIANTS=full,no_mi  RESULTS=runs; presets: smoke, toy_faces, toy_people, toy_robots, weizmann; the paper's, for GPUs:"
	@echo "                ucf101, faceforensics, sky_timelapse, ffhq_vox, ffhq1024_vox, afhq_vox, anime_vox, church_tlvdb"
	@echo "                OVERRIDES=motion.steps=10+evaluation.n_clips=48: settings for all runs; give them a RESULTS folder of their own"
	@echo "                PROCESSES=4: each notebook by four processes; GPUS=4: a notebook on each; PROFILE=profiles/slurm: as jobs"
	@echo "make videos FOLDER=~/holiday [MINUTES=60] [RESOLUTION=64] [NAME=holiday] [SEED=0] [MORE='width=4 n_frames=24']"
	@echo "                your own videos: train, sample, measure, and read what the numbers say, in RESULTS/own/holiday"
	@echo "make faces      real faces that move: FFHQ's, from the package index, as the talking heads of MOCOGAN_HD_DATA do; half an hour each"
	@echo "make test       what CI runs: export, clean, README, notebooks, pytest, a small reproduction"
	@echo "make lab        JupyterLab with this environment"
	@echo "make docs       the site from the notebooks, in docs/_site"
	@echo "make readme     write README.md from nbs/index.ipynb"
	@echo "make publish    copy RESULTS/PRESET to results/PRESET (weights stay outside git)"
	@echo "make clean-runs delete RESULTS/PRESET"

env: $(ENV)

# One resolve gives torch and torchvision as a tested pair; constraints.txt fixes every version. --no-compile saves
# a minute: Python compiles what it imports.
$(ENV): pyproject.toml constraints.txt
	@if [ ! -x $(BIN)/python ]; then \
	  for p in "$$GIVEN_PYTHON" python3.11 python3.12 python3 python; do \
	    if [ -n "$$p" ] && "$$p" -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null; then python=$$p; break; fi; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "Python 3.11 or 3.12 is needed, and was not found as python3.11, python3.12, python3 or python." >&2; \
	    echo "Say where it is:  make PYTHON=/path/to/python3.11 ...   (or use environment.yml with conda)" >&2; exit 1; \
	  fi; \
	  echo "Making the environment in .venv with $$("$$python" --version). Needs about 7 GB of disk; takes some minutes."; \
	  "$$python" -m venv .venv; \
	else echo "Bringing the environment in .venv up to date with pyproject.toml and constraints.txt."; fi
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --no-compile $(if $(CI),--quiet) -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "The environment is ready: .venv"

reproduce: $(ENV)
	@$(RUN) python tools/reproduce.py --from-make

videos: $(ENV)
	@$(RUN) python tools/own_videos.py --from-make

faces: faces-full faces-no_di # with D_I, and without
faces-%: $(ENV)
	@$(RUN) python tools/run_notebook.py nbs/3_experiments/run/6_real_faces.ipynb \
	  "$$GIVEN_RESULTS/ffhq_heads/$*/seed-0/6_real_faces.ipynb" variant=$* results="$$GIVEN_RESULTS"

TABLE := runs/test/smoke/table.csv
test: $(ENV)
	@echo "1/7 nbdev_export: mocogan_hd/ is what the notebooks export"
	@$(RUN) python tools/unchanged.py 'mocogan_hd/**/*.py' -- nbdev_export
	@echo "2/7 nbdev_clean: the notebooks carry no run numbers or machine traces"
	@$(RUN) python tools/unchanged.py 'nbs/**/*.ipynb' -- nbdev_clean
	@echo "3/7 README.md is what nbs/index.ipynb says"
	@$(RUN) python tools/unchanged.py README.md -- python tools/readme.py
	@echo "4/7 nbdev_test: every page runs (run/ is run in step 5)"
	@$(RUN) nbdev_test --n_workers "$$GIVEN_CORES" --timing --skip_folder_re '^([_.]|run$$|audits$$)'
	@echo "5/7 make reproduce PRESET=smoke, from nothing"
	@rm -rf runs/test
	@$(MAKE) --no-print-directory reproduce PRESET=smoke SEEDS=1 VARIANTS=full,no_mi,no_di OVERRIDES= RESULTS=runs/test
	@echo "6/7 what holds for the whole repository"
	@$(RUN) python tools/check.py
	@echo "7/7 pytest, with the table of step 5"
	@$(RUN) MOCOGAN_HD_SMOKE_TABLE=$(TABLE) python -m pytest tests -q -n "$$GIVEN_CORES" --dist loadfile

lab: $(ENV)
	@$(RUN) jupyter lab --notebook-dir=.

docs: $(ENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet -c constraints.txt -e '.[docs]'
	@$(RUN) python tools/docs.py
	@echo "The site is ready: docs/_site/index.html"

readme: $(ENV)
	@$(RUN) python tools/readme.py

publish: $(ENV) # whole for the first seed; of the others numbers and evaluation, for clips and pictures of training are large
	@$(RUN) python tools/result_folders.py publish --from-make

clean-runs: $(ENV)
	@$(RUN) python tools/result_folders.py clean --from-make
