"""CLIP against the outputs of transformers, random weights, tiny towers."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import errors
from difjax.interop import clip as importer
from difjax.interop import feature_files
from difjax.metrics import clip

KEPT = pathlib.Path(__file__).parents[1] / 'golden/clip'
SHARED = pathlib.Path(__file__).parents[2].parent / 'shared/golden/clip'


@functools.cache
def official():
  with np.load(KEPT / 'outputs.npz') as file:
    return dict(file)


def check(ours, name):
  """Compares, within ten times what float32 costs the official code."""
  expected = official()[name]
  np.testing.assert_allclose(
    ours[:len(expected)], expected, rtol=0,
    atol=official()[f'{name}__tolerance'], err_msg=name)


def run(tower, *inputs):
  return jax.jit(tower.network.apply)({'params': tower.params}, *inputs)


def test_both_towers():
  io, model = official(), importer.load(KEPT)
  text = run(model.text, io['input_ids'])
  check(text.last, 'text_last_hidden')
  check(text.pooled, 'text_pooled')
  check(text.penultimate, 'text_penultimate_hidden')
  check(text.projected, 'text_proj')
  image = run(model.image, np.moveaxis(io['pixel_values'], 1, -1))
  check(image.last, 'vision_last_hidden')
  check(image.pooled, 'vision_pooled')
  check(image.penultimate, 'vision_penultimate_hidden')
  check(image.projected, 'vision_proj')
  cosines = clip.cosines(
    image.projected[:, None], text.projected[None])
  check(model.scale * cosines, 'logits_per_image')


@pytest.mark.parametrize('folder', ['text_encoder', 'text_encoder_tf5_keys'])
def test_text_towers_of_stable_diffusion(folder):
  if not SHARED.is_dir():
    pytest.skip(f'{SHARED} is not there: no text encoder by itself')
  model = importer.load(SHARED / folder)
  assert model.image is None
  text = run(model.text, official()['input_ids'])
  check(text.last, 'text_last_hidden')
  check(text.pooled, 'text_pooled')


def test_masked_tokens_are_not_attended_to():
  io, model = official(), importer.load(KEPT)
  text = run(model.text, io['input_ids'], io['attention_mask_for_masked'])
  check(text.last, 'text_last_hidden_masked')


def test_published_counts_of_parameters():
  """ViT-B/32 has 151,277,313, of which one is the factor of the cosines."""
  text = jax.eval_shape(
    clip.TextTower().init, jax.random.key(0), jnp.zeros((1, 77), int))
  image = jax.eval_shape(
    clip.ImageTower().init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
  sizes = [leaf.size for leaf in jax.tree.leaves((text, image))]
  assert sum(sizes) + 1 == 151_277_313


def copied(tmp_path, **changes):
  """The towers, of which some settings of the text's are changed."""
  shutil.copytree(KEPT, tmp_path, dirs_exist_ok=True)
  place = tmp_path / 'config.json'
  settings = json.loads(place.read_text())
  settings['text_config'].update(changes)
  place.write_text(json.dumps(settings))
  return tmp_path


def test_an_unknown_activation_is_refused(tmp_path):
  with pytest.raises(errors.ConfigError, match="hidden_act is 'relu'"):
    importer.load(copied(tmp_path, hidden_act='relu'))


def test_heads_that_do_not_divide_are_refused(tmp_path):
  with pytest.raises(errors.ConfigError, match='does not divide 32'):
    importer.load(copied(tmp_path, num_attention_heads=5))


def test_missing_weights_say_where_to_get_them(tmp_path):
  with pytest.raises(errors.DataError, match=r'fetch https://huggingface\.co'):
    importer.load(tmp_path)


@pytest.mark.parametrize(
  ('name', 'array', 'message'),
  [
    ('logit_scale', None, 'lacks logit_scale'),
    ('text_projection.weight', np.zeros(3, 'f'), r'is \(3,\), not \(any, 32\)'),
    ('text_model.encoder.layers.1.mlp.fc2.bias', np.zeros(3, 'f'),
     r'mlp.fc2.bias is \(3,\), not \(32,\)'),
    ('vision_model.embeddings.patch_embedding.weight', np.zeros((48, 3), 'f'),
     r'not \(any, 3, any, any\)'),
    ('unheard_of', np.zeros(3, 'f'), 'beyond the network unheard_of'),
  ],
)  # fmt: skip
def test_other_arrays_are_refused(monkeypatch, name, array, message):
  read = feature_files.read(importer._WEIGHTS, KEPT / 'model.safetensors')
  arrays = {**read.arrays, name: array}
  arrays = {n: a for n, a in arrays.items() if a is not None}
  changed = dataclasses.replace(read, arrays=arrays)
  monkeypatch.setattr(feature_files, 'read', lambda *_: changed)
  with pytest.raises(errors.CheckpointError, match=message):
    importer.load(KEPT)
