#!/bin/bash
# A throw-away Slurm on this machine: two virtual nodes with two pretended GPUs each, no systemd.
#   apt-get install -y --no-install-recommends slurm-wlm munge
#   benchmarks/slurm_toy.sh up; python benchmarks/slurm_study.py; benchmarks/slurm_toy.sh down
# As root; tried on Debian 12 with Slurm 22.05. It writes /etc/slurm/{slurm,gres}.conf, which the
# Snakemake plugin needs there, and removes them again: left behind they slow every Snakemake call.
set -eu
D=${2:-${TMPDIR:-/tmp}/slurm-toy}; H=$(hostname -s); CPUS=$(nproc --all); C=/etc/slurm/slurm.conf
case $1 in
up)
  mkdir -p $D/state $D/spool-n1 $D/spool-n2 $D/log
  cat > $C <<X
ClusterName=toy
SlurmctldHost=$H(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=16817
SlurmctldPidFile=$D/slurmctld.pid
SlurmdPidFile=$D/slurmd-%n.pid
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool-%n
SlurmctldLogFile=$D/log/ctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=600
KillWait=5
GresTypes=gpu
NodeName=n[1-2] NodeHostname=$H NodeAddr=127.0.0.1 Port=[16818-16819] CPUs=$CPUS RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
X
  echo 'NodeName=n[1-2] Name=gpu File=/dev/tty[0-1]' > /etc/slurm/gres.conf
  install -d -o munge -g munge -m 755 /run/munge; install -d -o munge -g munge -m 700 /var/log/munge
  [ -e /etc/munge/munge.key ] || runuser -u munge -- /usr/sbin/mungekey
  [ -S /run/munge/munge.socket.2 ] && munge -n >/dev/null 2>&1 || { runuser -u munge -- /usr/sbin/munged; echo started-by-us > $D/munged.ours; }
  slurmctld; slurmd -N n1; slurmd -N n2
  for i in $(seq 20); do [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ] && break; sleep 0.5; done; sinfo -N -o "%N %T %c %m %G";;
down)
  stop() { [ -e $1 ] || return 0; p=$(cat $1); kill $p 2>/dev/null || true; for i in $(seq 40); do kill -0 $p 2>/dev/null || return 0; sleep 0.25; done; }
  for f in $D/slurmd-n1.pid $D/slurmd-n2.pid $D/slurmctld.pid; do stop $f; done      # munged last: the others need it to stop
  if [ -e $D/munged.ours ]; then stop /run/munge/munged.pid; fi
  rm -rf $D; grep -q '^ClusterName=toy' $C 2>/dev/null && rm -f $C /etc/slurm/gres.conf; true;;
esac
