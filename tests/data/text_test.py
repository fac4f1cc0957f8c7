"""The tokenizer against the tokens that OpenAI's code gives."""

from __future__ import annotations

import functools
import gzip
import json
import pathlib

import numpy as np
import pytest

from difjax import errors
from difjax.data import text

SHARED = pathlib.Path(__file__).parents[2].parent / 'shared'
GOLDEN = SHARED / 'golden/clip_tokenizer'


@functools.cache
def tokenizer():
  pytest.importorskip('tokenizers', reason='needs difjax[clip]')
  pytest.importorskip('ftfy', reason='needs difjax[clip]')
  if not GOLDEN.is_dir():
    pytest.skip(f'{GOLDEN} is not there: no vocabulary, no official tokens')
  return text.ClipTokenizer(
    path=str(SHARED / 'data/clip/bpe_simple_vocab_16e6.txt.gz'))


def test_tokens_are_the_official_ones():
  make = tokenizer()
  prompts = json.loads((GOLDEN / 'prompts.json').read_text())
  wrong = [p['text'] for p in prompts if make.encode(p['text']) != p['ids']]
  assert not wrong
  with np.load(GOLDEN / 'io.npz') as file:
    expected = file['tokens_77_truncated']
  np.testing.assert_array_equal(make([p['text'] for p in prompts]), expected)


def test_a_missing_vocabulary_says_where_to_get_it(tmp_path):
  with pytest.raises(errors.DataError, match='fetch https://'):
    text._merges(tmp_path / 'bpe.gz')


@pytest.mark.parametrize(
  'data', [b'', b'no gzip', gzip.compress(b'a b\nc d')],
  ids=['empty', 'other', 'few'],  # the last has the time of day in it
)
def test_another_vocabulary_is_refused(tmp_path, data):
  path = tmp_path / 'bpe.gz'
  path.write_bytes(data)
  with pytest.raises(errors.DataError, match=r'bpe\.gz is'):
    text._merges(path)
