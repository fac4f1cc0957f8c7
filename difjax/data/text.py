"""Texts as tokens: the byte-pair encoding of CLIP, from its vocabulary file.

A text is cleaned (broken encodings mended, HTML undone, spaces joined, lower
case), cut into words, and each word, as bytes that are written as letters, is
joined pair by pair in the order of the file's merges. Needs the packages of
the extra `clip`.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import html
import pathlib
import types
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from difjax import errors

START, END = '<|startoftext|>', '<|endoftext|>'
_MERGES = 49152 - 256 - 2  # of the file's lines, those that are in use
_WORD = '</w>'  # stands after the last letter of a word
_WORDS = (
  r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
_ADDRESS = 'https://github.com/openai/CLIP/raw/main/clip/'


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipTokenizer:
  """Turns texts into tokens as OpenAI's code does.

  Attributes:
    path: of bpe_simple_vocab_16e6.txt.gz.
    length: of what is returned; longer texts are cut, and end all the same.
    pad: the token after the end; transformers puts 49407 there.
  """

  path: str
  length: int = 77
  pad: int = 0

  def __call__(self, texts: Sequence[str]) -> np.ndarray:
    """Returns tokens int32 [N, length], with the start and the end.

    Raises:
      DataError: the vocabulary is missing or damaged.
      ConfigError: a package is not installed.
    """
    found = np.full((len(texts), self.length), self.pad, np.int32)
    vocabulary = self._encoder.get_vocab_size()
    start, end = vocabulary - 2, vocabulary - 1
    for row, text in zip(found, texts, strict=True):
      ids = [start, *self.encode(text)[:self.length - 2], end]
      row[:len(ids)] = ids
    return found

  def encode(self, text: str) -> list[int]:
    """Returns the tokens of a text, however many, without start and end."""
    encoding = self._encoder.encode(clean(text), add_special_tokens=False)
    return encoding.ids

  @functools.cached_property
  def _encoder(self) -> Any:
    tokenizers = _package('tokenizers')
    letters = _letters()
    merges = _merges(pathlib.Path(self.path))
    names = [*letters, *(letter + _WORD for letter in letters)]
    names += [first + second for first, second in merges]
    vocabulary = {name: i for i, name in enumerate([*names, START, END])}
    encoder = tokenizers.Tokenizer(tokenizers.models.BPE(
      vocab=vocabulary, merges=merges, end_of_word_suffix=_WORD))
    split = tokenizers.pre_tokenizers.Split(
      tokenizers.Regex(_WORDS), behavior='removed', invert=True)
    encoder.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
      split, tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False)])
    encoder.add_special_tokens([START, END])
    return encoder


def clean(text: str) -> str:
  """Returns a text as it is before it is cut into words."""
  mended = _package('ftfy').fix_text(text)
  return ' '.join(html.unescape(html.unescape(mended)).split()).lower()


def _package(name: str) -> types.ModuleType:
  """Imports a package of the extra `clip`.

  Raises:
    ConfigError: it is not installed.
  """
  import importlib

  try:
    return importlib.import_module(name)
  except ImportError:
    raise errors.ConfigError(
      f'{name} is not installed: pip install "difjax[clip]"') from None


def _letters() -> list[str]:
  """Returns a letter for each byte: itself if it prints, else one past 255."""
  prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
  others = set(range(256)) - set(prints)
  return [chr(i) for i in prints] + [chr(256 + i) for i in range(len(others))]


def _merges(path: pathlib.Path) -> list[tuple[str, str]]:
  """Reads the pairs to be joined, the most frequent first.

  Raises:
    DataError: the file is missing or is another.
  """
  if not path.is_file():
    raise errors.DataError(
      f'{path} is not there: fetch {_ADDRESS}bpe_simple_vocab_16e6.txt.gz and '
      'put it there')
  try:
    lines = gzip.decompress(path.read_bytes()).decode().split('\n')
  except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
    raise errors.DataError(f'{path} is damaged: fetch it again') from error
  pairs = [tuple(line.split()) for line in lines[1:1 + _MERGES]]
  if len(pairs) != _MERGES or any(len(pair) != 2 for pair in pairs):
    raise errors.DataError(
      f'{path} is not the vocabulary of CLIP: it has not {_MERGES} pairs')
  return pairs
