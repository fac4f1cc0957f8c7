"""What can go wrong for a user, each with its documented exit code.

Every error is one line that names the thing and what to do about it. The
command line prints that line and leaves with `exit_code`; library users catch
the class.

| code | class            | meaning                                         |
|------|------------------|-------------------------------------------------|
| 0    |                  | done                                            |
| 2    | ConfigError      | the config, a flag or the work directory is off |
| 3    | NonFiniteError   | training left the finite numbers                |
| 4    | DataError        | data are missing, malformed or changed          |
| 5    | CheckpointError  | a checkpoint cannot be written or read; no room |
| 42   | RetryError       | stopped, saved, and good to start again         |
"""


class DifjaxError(Exception):
  """Base of the errors that are reported as one line."""

  exit_code = 1


class ConfigError(DifjaxError):
  """The config, a flag or the work directory is off."""

  exit_code = 2


class NonFiniteError(DifjaxError):
  """Training left the finite numbers."""

  exit_code = 3


class DataError(DifjaxError):
  """Data are missing, malformed or changed."""

  exit_code = 4


class CheckpointError(DifjaxError):
  """A checkpoint cannot be written or read."""

  exit_code = 5


class RetryError(DifjaxError):
  """The run stopped after saving; starting it again continues it."""

  exit_code = 42
