"""A Slurm of one node on loopback, for tests: munged, slurmctld and slurmd with ports, keys and state of their own.

    with Slurm(folder) as slurm: subprocess.run(['sbatch', ...], env=os.environ | slurm.env)

By hand, with the commands' own output, until it is interrupted:
    python tests/slurm_setup.py /tmp/slurm [CPUS [GPUS]]        then, in another shell: export SLURM_CONF=/tmp/slurm/slurm.conf PATH=/tmp/slurm/bin:$PATH

Debian: apt-get install --no-install-recommends slurmctld slurmd slurm-client munge. Tried with Slurm 22.05 (Debian 12), as root.
There is no accounting, so nothing but `squeue` knows how a job ended, and `MinJobAge` keeps it known for some minutes;
and no cgroups: memory and processors are booked, not enforced. GPUs are pretended: copies of /dev/null,
whose numbers jobs are given.
"""
import getpass, os, shutil, signal, socket, stat, subprocess, sys, time
from pathlib import Path

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'sbatch', 'squeue', 'scancel', 'sinfo')
_path = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin', '/sbin'])


def missing():
    "What a machine lacks for this: names of programs, or the reason; empty where all is there."
    absent = [p for p in PROGRAMS if not shutil.which(p, path=_path)]
    if absent: return 'Slurm is not installed: ' + ', '.join(absent)
    return '' if os.geteuid() == 0 else 'slurmd starts jobs as root only'


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    try: return [(s.bind(('127.0.0.1', 0)), s.getsockname()[1])[1] for s in sockets]
    finally: [s.close() for s in sockets]


CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MpiDefault=none
ReturnToService=2
MinJobAge=600
KillWait=5
JobAcctGatherType=jobacct_gather/none
{gres}NodeName=localhost NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory}{node_gres} State=UNKNOWN
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    "Starts when entered, is gone when left."
    def __init__(self, folder, cpus=2, gpus=0, memory=None):
        self.folder, self.cpus, self.gpus, self.processes = Path(folder).resolve(), cpus, gpus, []
        self.memory = memory or os.sysconf('SC_PAGE_SIZE')*os.sysconf('SC_PHYS_PAGES')//2**20*9//10
        self.env = {'SLURM_CONF': str(self.folder/'slurm.conf'), 'PATH': f'{self.folder}/bin{os.pathsep}{_path}'}

    def write(self):
        for d in ('state', 'spool', 'gpus', 'bin'): # nothing of an earlier one is recovered
            shutil.rmtree(self.folder/d, ignore_errors=True)
            (self.folder/d).mkdir(parents=True)
        self.folder.chmod(0o755)
        # Snakemake's job steps drop SLURM_CONF, since clusters have theirs in /etc/slurm; this srun finds ours again
        (self.folder/'bin/srun').write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun", path=_path)} "$@"\n')
        (self.folder/'bin/srun').chmod(0o755)
        (self.folder/'munge.key').touch(0o600)
        (self.folder/'munge.key').write_bytes(os.urandom(1024))
        for i in range(self.gpus): os.mknod(self.folder/f'gpus/gpu{i}', stat.S_IFCHR | 0o600, os.makedev(1, 3))
        gres = dict(gres='GresTypes=gpu\n', node_gres=f' Gres=gpu:{self.gpus}') if self.gpus else dict(gres='', node_gres='')
        (self.folder/'slurm.conf').write_text(CONF.format(folder=self.folder, ports=free_ports(2), user=getpass.getuser(), cpus=self.cpus, memory=self.memory, **gres))
        if self.gpus: (self.folder/'gres.conf').write_text(f'Name=gpu File={self.folder}/gpus/gpu[0-{self.gpus - 1}]\n' if self.gpus > 1 else f'Name=gpu File={self.folder}/gpus/gpu0\n')

    def start(self, *command):
        with open(self.folder/f'{command[0]}.out', 'w') as log:
            self.processes.append(subprocess.Popen(command, env=os.environ | self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def call(self, *command): return subprocess.run(command, env=os.environ | self.env, capture_output=True, text=True)

    def __enter__(self):
        self.write()
        f = self.folder
        self.start('munged', '--foreground', '--force', f'--socket={f}/munge.socket', f'--key-file={f}/munge.key', f'--pid-file={f}/munged.pid',
                   f'--log-file={f}/munged.log', f'--seed-file={f}/munged.seed', '--num-threads=2')
        self.wait(lambda: (f/'munge.socket').exists(), 'munged')
        self.start('slurmctld', '-D', '-f', str(f/'slurm.conf'))
        self.start('slurmd', '-D', '-N', 'localhost', '-f', str(f/'slurm.conf'))
        self.wait(lambda: self.call('sinfo', '-h', '-o', '%t').stdout.strip() == 'idle', 'an idle node')
        return self

    def wait(self, ready, what, seconds=60):
        end = time.monotonic() + seconds
        while not ready():
            gone = [p.args[0] for p in self.processes if p.poll() is not None]
            if gone or time.monotonic() > end:
                said = '\n'.join(f'--- {p.name}\n{p.read_text()[-2000:]}' for p in sorted(self.folder.glob('*.out')))
                self.__exit__()
                raise RuntimeError(f'waited for {what}; ended: {gone or "none"}\n{said}')
            time.sleep(.2)

    def __exit__(self, *_):
        self.call('scancel', '--state=RUNNING', '--state=PENDING', '-u', getpass.getuser())
        for p in reversed(self.processes):
            p.terminate()
            try: p.wait(15)
            except subprocess.TimeoutExpired: p.kill(), p.wait()


if __name__ == '__main__':
    if len(sys.argv) < 2: sys.exit(__doc__)
    if (why := missing()): sys.exit(why)
    for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.default_int_handler)
    with Slurm(sys.argv[1], *map(int, sys.argv[2:])) as slurm:
        print(slurm.call('sinfo').stdout, f'export SLURM_CONF={slurm.folder}/slurm.conf PATH={slurm.folder}/bin:$PATH', sep='\n', flush=True)
        try: [p.wait() for p in slurm.processes]
        except KeyboardInterrupt: pass
