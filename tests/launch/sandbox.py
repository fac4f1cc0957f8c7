"""A machine on which every cloud is a fake.

Launchers run on a copy of the repository's launch/, with a PATH that holds the
fakes and what Linux has, and no configuration of a real cloud. A fake notes its
arguments in `calls`, then does what its hook says, a few lines of bash with

  next NAME      prints the first line of `replies/NAME` and drops it, unless it
                 is the last one
  on HOME WORDS  runs a shell's words on the machine whose home that is
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess

REPOSITORY = pathlib.Path(__file__).parents[2]
LAUNCH = REPOSITORY / 'launch'
# A value that must never be seen where somebody may read it.
SECRET = 'hunter2-do-not-print'
CLOUDS = (
  'gcloud', 'kubectl', 'sbatch', 'srun', 'scontrol', 'ssh', 'scp', 'sky',
  'docker', 'python3',
)  # fmt: skip
TOOLS = (
  'awk', 'bash', 'cat', 'cksum', 'cp', 'date', 'dirname', 'env', 'grep', 'gzip',
  'head', 'install', 'mkdir', 'mv', 'paste', 'rm', 'sed', 'setsid', 'sleep',
  'sort', 'tail', 'tar', 'touch', 'tr',
)  # fmt: skip
_FAKE = """#!{bash}
{{ printf '%s\\037' "${{0##*/}}" "$@"; echo; }} >>'{root}/calls'
next() {{
  local file='{root}/replies/'"$1"
  head -n 1 "$file"
  if [ "$(sed -n '$=' "$file")" -gt 1 ]; then sed -i 1d "$file"; fi
}}
on() {{ (cd "$1" && HOME="$1" bash -c "$2"); }}
root='{root}'
source '{root}/hooks/'"${{0##*/}}"
"""
# Stands in for difjax: supervise runs what it is given, train leaves with the
# next code of `codes` in the home of its machine and notes what it was told.
_DIFJAX = """#!{bash}
if [ "$1" = supervise ]; then
  while [ "$1" != -- ]; do shift; done
  shift
  exec "$@"
fi
env | grep '^DIFJAX_\\|^SLURM_PROCID' | sort >>"$HOME/environment"
printf '%s\\037' "$@" >>"$HOME/trained"
echo >>"$HOME/trained"
code="$(head -n 1 "$HOME/codes")"
sed -i 1d "$HOME/codes"
if [ "$code" = wait ]; then
  trap 'exit 42' TERM
  while :; do sleep 0.05; done
fi
exit "${{code:-0}}"
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sandbox:
  """A repository, fakes, and the homes of machines, all below `root`."""

  root: pathlib.Path

  @property
  def repository(self) -> pathlib.Path:
    """The copy of the repository on the user's own machine."""
    return self.root / 'repository'

  def environment(self, env: dict[str, str]) -> dict[str, str]:
    """Returns the whole environment of a launcher."""
    return {
      'PATH': str(self.root / 'bin'), 'HOME': str(self.root / 'home'),
      'CLOUDSDK_CONFIG': str(self.root / 'nothing'),
      'KUBECONFIG': str(self.root / 'nothing' / 'kube'),
      'WANDB_API_KEY': SECRET, 'DIFJAX_POLL': '0', **env,
    }  # fmt: skip

  def run(
    self, script: str, *argv: str, env: dict[str, str], code: int = 0
  ) -> str:
    """Runs a launcher; returns what it printed, after checking its code."""
    return self.shell(['bash', f'launch/{script}', *argv], env=env, code=code)

  def shell(
    self, command: list[str], *, env: dict[str, str], code: int = 0
  ) -> str:
    """Runs a command in the copy of the repository."""
    done = subprocess.run(
      command, cwd=self.repository, env=self.environment(env), text=True,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    assert SECRET not in done.stdout
    return done.stdout

  def calls(self, tool: str = '') -> list[list[str]]:
    """Lists what the fakes were called with, those of one tool or of all."""
    file = self.root / 'calls'
    lines = file.read_text().splitlines() if file.exists() else []
    found = [line.split('\037')[:-1] for line in lines]
    assert not any(SECRET in word for call in found for word in call)
    return [call for call in found if tool in ('', call[0])]

  def hook(self, tool: str, lines: str) -> None:
    """Says what a fake does after it noted its arguments."""
    (self.root / 'hooks' / tool).write_text(lines)

  def replies(self, name: str, *lines: str) -> None:
    """Says what `next NAME` prints, a line a call."""
    (self.root / 'replies' / name).write_text(
      ''.join(f'{line}\n' for line in lines)
    )

  def machine(self, name: str, *codes: int | str) -> pathlib.Path:
    """Makes the home of a machine where difjax is installed already.

    Args:
      name: of the folder.
      *codes: what `difjax train` leaves with, one after the other; 'wait'
        waits for SIGTERM and leaves with 42.

    Returns:
      The home.
    """
    home = self.root / name
    _install(home / 'difjax')
    (home / 'codes').write_text(''.join(f'{code}\n' for code in codes))
    return home


def make(root: pathlib.Path) -> Sandbox:
  """Makes a sandbox in an empty folder."""
  sandbox = Sandbox(root=root)
  for name in ('bin', 'hooks', 'replies', 'home', 'nothing'):
    (root / name).mkdir()
  for tool in TOOLS:
    found = shutil.which(tool)
    assert found, f'this machine has no {tool}'
    (root / 'bin' / tool).symlink_to(os.path.realpath(found))
  for tool in CLOUDS:
    path = root / 'bin' / tool
    path.write_text(_FAKE.format(root=root, bash=shutil.which('bash')))
    path.chmod(0o755)
    sandbox.hook(tool, '')
  _install(sandbox.repository)
  return sandbox


def _install(repository: pathlib.Path) -> None:
  """Copies what launchers need, with a stand-in for an installed difjax."""
  shutil.copytree(LAUNCH, repository / 'launch')
  for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(REPOSITORY / name, repository / name)
  for package in ('difjax', 'configs'):
    (repository / package).mkdir()
    (repository / package / 'some.py').touch()
  programs = repository / '.venv' / 'bin'
  programs.mkdir(parents=True)
  (programs / 'difjax').write_text(_DIFJAX.format(bash=shutil.which('bash')))
  (programs / 'difjax').chmod(0o755)
  # What env.sh compares to tell whether there is something to install.
  stamp = subprocess.run(
    'cat setup.cfg pyproject.toml | cksum', shell=True, check=True,
    cwd=repository, stdout=subprocess.PIPE,
  ).stdout  # fmt: skip
  for extras in ('base', 'cuda', 'gcs,tpu', 'cuda,gcs'):
    (repository / '.venv' / f'difjax-{extras}.stamp').write_bytes(stamp)
