"""A set is the same files whoever drew its blocks, and no other protocol's."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from difjax import errors
from difjax.evaluation import sample_set
from tests.evaluation import drawn_sets


def files(folder):
  return {p.name: p.read_bytes() for p in (folder / 'blocks').iterdir()}


@pytest.fixture
def whole(tmp_path):
  return drawn_sets.whole(tmp_path / 'whole')


def test_blocks_cover_the_indices_once(whole):
  indices = np.concatenate([block.indices for block in whole])
  assert indices.tolist() == list(range(5, 28))
  assert [len(block.indices) for block in whole] == [3, 4, 4, 4, 4, 4]
  assert {len(whole.whole(b)) for b in whole.blocks} == {4}


def test_an_images_place_does_not_follow_from_the_first(tmp_path):
  early = drawn_sets.make(tmp_path / 'a', first=0, num=28)
  late = drawn_sets.make(tmp_path / 'b', first=9, num=3)
  assert list(late.blocks) == [2]
  np.testing.assert_array_equal(late.whole(2), early.whole(2))
  assert late.inside(2).tolist() == [False, True, True, True]


def test_what_was_killed_is_finished_by_others(whole, tmp_path):
  """Two of three processes stop early, and two others come."""
  found = drawn_sets.make(tmp_path / 'found')
  assert drawn_sets.fill(found, 0, 3, most=1) == [3]
  assert drawn_sets.fill(found, 2, 3) == [2, 5]
  partial = found.folder / 'blocks' / '.000001.npz.99'
  partial.write_bytes(b'PK half of a block')  # of one that was killed
  again = drawn_sets.make(tmp_path / 'found')
  assert again.missing() == [1, 4, 6]
  assert drawn_sets.fill(again, 0, 2) == [4, 6]
  assert drawn_sets.fill(again, 1, 2) == [1]
  again.finish()
  assert files(again.folder) == files(whole.folder)


@pytest.mark.parametrize('parts', [1, 2, 3, 7])
def test_every_block_has_one_process(tmp_path, parts):
  found = drawn_sets.make(tmp_path)
  shares = [b for i in range(parts) for b in found.missing(i, parts)]
  assert sorted(shares) == list(found.blocks)


def test_a_torn_block_is_drawn_again(whole):
  file = whole.folder / 'blocks' / '000003.npz'
  before = file.read_bytes()
  file.write_bytes(before[:-30])
  whole.discard_torn()
  assert whole.missing() == [3]
  drawn_sets.fill(whole)
  assert file.read_bytes() == before


def test_a_flipped_bit_is_named(whole):
  file = whole.folder / 'blocks' / '000003.npz'
  data = bytearray(file.read_bytes())
  data[300] ^= 1
  file.write_bytes(data)
  with pytest.raises(errors.DataError, match=r'000003\.npz .*draws it again'):
    list(whole)


def test_a_block_of_another_shape_is_named(whole):
  wrong = drawn_sets.block(whole, 3)
  whole.write(3, wrong._replace(images=wrong.images[:, :5]))
  with pytest.raises(errors.DataError, match=r'000003\.npz holds uint8'):
    whole.read(3)


@pytest.mark.parametrize(('change', 'named'), [
  ({'seed': 4}, 'protocol.seed: 3 -> 4'),
  ({'size': 8}, 'protocol.block: 4 -> 8'),
  ({'num': 24}, 'protocol.num: 23 -> 24'),
  ({'ema': 'main'}, "protocol.ema: '(absent)' -> 'main'"),
  ({'labels': [3]}, r'protocol.labels: [3, 7] -> [3]'),
])  # fmt: skip
def test_another_protocol_is_refused(whole, change, named):
  with pytest.raises(errors.ConfigError) as refusal:
    drawn_sets.make(whole.folder, **change)
  assert named in str(refusal.value)
  assert str(refusal.value).count('->') == 1


def test_a_protocol_of_tuples_is_that_of_lists(tmp_path):
  drawn_sets.make(tmp_path, labels=(3, 7))
  drawn_sets.make(tmp_path, labels=[3, 7])


def test_other_files_are_left_alone(tmp_path):
  (tmp_path / 'mine.txt').write_text('mine')
  with pytest.raises(errors.ConfigError, match='is not empty'):
    drawn_sets.make(tmp_path)
  with pytest.raises(errors.ConfigError, match='is a file'):
    drawn_sets.make(tmp_path / 'mine.txt')
  assert [p.name for p in tmp_path.iterdir()] == ['mine.txt']


def test_the_manifest_tells_what_was_drawn(whole, tmp_path):
  """A digest that does not follow the block's size; evaluations are known."""
  other = drawn_sets.whole(tmp_path / 'other', size=9)
  told, others = whole.finished(), other.finished()
  assert told == others
  indices = np.arange(5, 28)
  assert told['evaluations'] == {
    'mean': (indices % 3 + 1).mean(), 'most': 3
  }  # fmt: skip
  changed = drawn_sets.block(other, 1)
  changed.images[0, 0, 0, 0] ^= 1
  other.write(1, changed)
  other.finish()
  assert other.finished()['images_sha256'] != told['images_sha256']


def test_a_set_is_opened_by_its_folder(whole):
  found = sample_set.load(whole.folder)
  assert found == whole
  assert found.finished()


@pytest.mark.parametrize('text', ['{}', '{"set": 3}', '{"set": {"num": 3}}'])
def test_a_manifest_that_is_none(whole, text):
  (whole.folder / 'blocks' / 'manifest.json').write_text(text)
  with pytest.raises(errors.DataError, match='no manifest of samples'):
    sample_set.load(whole.folder)
  with pytest.raises(errors.ConfigError, match='has no protocol'):
    whole.begin()


@pytest.mark.parametrize(('part', 'name', 'value'), [
  ('set', 'num', -5), ('set', 'num', '5'), ('set', 'num', True),
  ('set', 'num', 2**31), ('set', 'first', -1), ('set', 'size', 0),
  ('set', 'size', 4.0), ('set', 'num_classes', None), ('set', 'labelled', 1),
  ('set', 'class_names', 'ab'), ('set', 'class_names', [3]),
  ('set', 'shape', [6, 6]), ('set', 'shape', [6, 6, 0]), ('set', 'shape', 6),
  ('set', 'mane', 3), (None, 'set', [1]), (None, 'protocol', [1]),
  (None, 'protocol', None), (None, 'drawn', [1]), (None, 'drawn', 'all'),
  (None, 'drawn', {'evaluations': {}}), ('drawn', 'images_sha256', None),
  ('drawn', 'evaluations', 4), ('drawn', 'evaluations', {'mean': 4.0}),
  ('drawn', 'evaluations', {'mean': float('nan'), 'most': 4}),
])  # fmt: skip
def test_a_manifest_of_what_cannot_be(whole, part, name, value):
  file = whole.folder / 'blocks' / 'manifest.json'
  content = json.loads(file.read_text())
  (content if part is None else content[part])[name] = value
  file.write_text(json.dumps(content))
  with pytest.raises(errors.DataError, match='no manifest of samples') as told:
    sample_set.load(whole.folder).finished()
  assert '\n' not in str(told.value)


def test_a_block_that_another_had_before(whole, monkeypatch):
  """Who finishes the set removes what a slower writer has half-written."""
  before = files(whole.folder)
  replace, slow = os.replace, sample_set.load(whole.folder)

  def late(partial, path):
    monkeypatch.setattr(os, 'replace', replace)
    whole.finish()
    replace(partial, path)

  monkeypatch.setattr(os, 'replace', late)
  slow.write(3, drawn_sets.block(slow, 3))
  assert files(whole.folder) == before


def test_an_unfinished_set_says_so(tmp_path):
  found = drawn_sets.make(tmp_path)
  assert found.finished() is None
  text = (tmp_path / 'blocks' / 'manifest.json').read_text()
  assert json.loads(text)['protocol'] == found.protocol


def test_digests_tell_arrays_and_settings_apart():
  a = np.arange(6, dtype=np.float32)
  digests = {
    sample_set.digest(*parts)
    for parts in [
      (a,), (a.reshape(2, 3),), (a.astype(np.float64),), (a, a), (a[::2],),
      ({'a': 1},), ({'a': 2},), (np.float32(3),), (np.zeros((0, 3)),),
    ]
  }  # fmt: skip
  assert len(digests) == 9
  assert sample_set.digest({'a': 1, 'b': 2}) == sample_set.digest(
    {'b': 2, 'a': 1}
  )
