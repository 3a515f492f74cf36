"""How a study runs: Snakemake schedules, one process and one kernel per notebook.

plan          a checked study to its jobs: which notebook, which parameters, which records
preflight     what can be refused before any kernel starts
unfinished    which jobs are to be run, and why: decided by records
estimate      what a run is about to do: documents, memory, time
Snakefile     the rules, generic over the plan
profiles      Snakemake settings for one machine and for Slurm
engine        Snakemake itself, with our progress lines
places        where the notebooks lie
options       what the options of `ppm run` ask of Snakemake
launch        start Snakemake on a plan, one run of a study at a time
progress      what a person sees while a study runs
run_notebook  one job: papermill, truthful failure records, HTML
stopping      stop signals and the time limit of a job
kernel        the kernel process, which dies with its parent
gpus          one GPU leased per job that needs one
make_index    the study's page and the manifest
rerun         recorded notebooks run again and compared
processes     parent-death signal, thread counts, quiet libraries
"""
