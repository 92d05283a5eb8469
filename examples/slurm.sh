#!/usr/bin/env bash
# Several machines under Slurm. What follows the name is a command of ancestral that several processes can do:
#
#   sbatch --nodes 4 --gpus-per-node 8 examples/slurm.sh train cifar10-gpu --out runs/cifar10
#   sbatch --nodes 4 --gpus-per-node 8 examples/slurm.sh sample runs/cifar10 --num-images 50000 --each
#
# The run's folder, the cache (ANCESTRAL_CACHE) and the images have to be on a disk that all machines see.
# Two minutes before its time is up the job saves and stops; submit it as often as the budget may need: the jobs of one
# name wait for each other, each goes on where the last one stopped, and one that finds nothing left to do ends at once.
#SBATCH --job-name=ancestral
#SBATCH --dependency=singleton
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# Without it torchrun keeps the addresses of the dead over a restart, and two restarts in three fail.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

exec srun --kill-on-bad-exit=1 "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "$SLURM_NNODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" --max-restarts 10 \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:${PORT:-29500}" \
    -m ancestral "$@"
