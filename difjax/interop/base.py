"""What an importer makes of a checkpoint."""

from __future__ import annotations

import abc
import dataclasses
import difflib
import math
import types
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, Final

from difjax import errors
from difjax.typing import Params

Spec = dict[str, Any]
COLOURS = (1, 3)  # channels of images; what has others is none
_WORDS: Final = types.MappingProxyType({
  **dict.fromkeys(('true', 'yes', 't', 'y', '1'), True),
  **dict.fromkeys(('false', 'no', 'f', 'n', '0'), False),
})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Converted:
  """A network of another project in terms of this one.

  Attributes:
    spec: specification of the objective, for `config.build`: data in [-1, 1],
      times those of its process.
    params: of either network, float32, on the host.
    network: specification of the network as its authors call it: their range
      of images, their time input, their raw output. Same parameters.
    info: plain facts: which weights, the step, the image's shape (H, W, C)
      and what else is worth knowing.
    sampler: specification of the sampler that official settings ask for; None
      where they say nothing of it.
  """

  spec: Spec
  params: Params
  network: Spec
  info: dict[str, Any]
  sampler: Spec | None = None


class Lookups(abc.ABC):
  """Official arguments, looked up by name as what they have to be.

  Attributes:
    family: whose they are, for errors.
    least: the smallest whole number that is one.
  """

  family: ClassVar[str]
  least: ClassVar[float] = -math.inf

  @abc.abstractmethod
  def __getitem__(self, name: str) -> Any:
    """Looks an argument up.

    Raises:
      ConfigError: it is not given and has no default.
    """

  def number(self, name: str) -> float:
    """Looks a finite number up.

    Raises:
      ConfigError: it is something else.
    """
    try:
      number = float(self[name])
    except (TypeError, ValueError):
      number = math.nan
    if not math.isfinite(number):
      raise self.wrong(name, 'a number')
    return number

  def count(self, name: str) -> int:
    """Looks a whole number up.

    Raises:
      ConfigError: it is something else.
    """
    number = self.number(name)
    if number != int(number) or number < self.least:
      raise self.wrong(name, 'a whole number')
    return int(number)

  def choice(self, name: str, options: Mapping[str, Any]) -> Any:
    """Looks a word up and gives what it stands for.

    Raises:
      ConfigError: the word is none of the options.
    """
    word = str(self[name]).lower()
    if word not in options:
      raise errors.ConfigError(
        f'{self.family}: {name} is {self[name]!r} in the config; known are '
        f'{", ".join(options)}')
    return options[word]

  def flag(self, name: str) -> bool:
    """Looks a truth value up; it may be a word, as on a command line.

    Raises:
      ConfigError: it is something else.
    """
    return self.choice(name, _WORDS)

  def wrong(self, name: str, wanted: str) -> errors.ConfigError:
    """Says that an argument is not what it has to be."""
    return errors.ConfigError(
      f'{self.family}: {name} is {self[name]!r} in the config, not {wanted}')


def check_names(
  family: str, given: Iterable[Any], known: Collection[str]
) -> None:
  """Refuses arguments that are written nearly like an official one.

  Others pass: what official configs hold beside a network's arguments is not
  ours to judge.

  Args:
    family: for the error.
    given: names of arguments.
    known: those of the official constructors.

  Raises:
    ConfigError: one is misspelt.
  """
  for name in sorted({str(name) for name in given} - set(known)):
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
    if near:
      raise errors.ConfigError(
        f'{family}: there is no argument {name}: did you mean {near[0]}?')
