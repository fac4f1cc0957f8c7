"""DINOv2 against its authors' code and transformers, random weights, tiny."""

from __future__ import annotations

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from difjax import errors
from difjax.interop import dinov2 as importer
from difjax.interop import feature_files
from difjax.metrics import dinov2
from tests.interop import files

KEPT = pathlib.Path(__file__).parents[1] / 'golden/dinov2/outputs.npz'
WIDTH, DEPTH, GRID, SEED = 192, 2, 5, 14
OFFSETS = {'official': 0.1, 'transformers': 0.0}


def shapes(gated):
  """Shapes by the authors' names."""
  square, one = (WIDTH, WIDTH), (WIDTH,)
  block = {
    'norm1': {'weight': one, 'bias': one},
    'norm2': {'weight': one, 'bias': one},
    'attn.qkv': {'weight': (3 * WIDTH, WIDTH), 'bias': (3 * WIDTH,)},
    'attn.proj': {'weight': square, 'bias': one},
    'ls1': {'gamma': one}, 'ls2': {'gamma': one}}
  into, back, hidden = ('w12', 'w3', 512) if gated else ('fc1', 'fc2', 768)
  wide = hidden * (1 + gated)
  block[f'mlp.{into}'] = {'weight': (wide, WIDTH), 'bias': (wide,)}
  block[f'mlp.{back}'] = {'weight': (WIDTH, hidden), 'bias': one}
  found = {
    'cls_token': (1, 1, WIDTH), 'mask_token': (1, WIDTH),
    'pos_embed': (1, 1 + GRID**2, WIDTH), 'norm.weight': one, 'norm.bias': one,
    'patch_embed.proj.weight': (WIDTH, 3, 14, 14),
    'patch_embed.proj.bias': one}
  for i in range(DEPTH):
    for layer, leaves in block.items():
      for leaf, shape in leaves.items():
        found[f'blocks.{i}.{layer}.{leaf}'] = shape
  return found


@functools.cache
def drawn(gated):
  """Weights and images by the recipe of the official outputs."""
  rng, every = np.random.RandomState(SEED), shapes(gated)
  arrays = {name: draw(rng, name, every[name]) for name in sorted(every)}
  images = rng.standard_normal((2, 3, 70, 70)).astype(np.float32)
  return arrays, np.moveaxis(images, 1, -1)


def draw(rng, name, shape):
  array = rng.standard_normal(shape)
  if ('norm' in name and name.endswith('weight')) or name.endswith('gamma'):
    array = 1 + 0.1 * array
  elif name.endswith('weight'):
    array = array / np.sqrt(np.prod(shape[1:]))
  else:
    array = array * (0.5 if name in ('cls_token', 'pos_embed') else 0.1)
  return array.astype(np.float32)


def renamed(arrays):
  """The arrays by the names of transformers' files."""
  found = {}
  for name, array in arrays.items():
    for ours, theirs in (
      ('cls_token', 'embeddings.cls_token'),
      ('mask_token', 'embeddings.mask_token'),
      ('pos_embed', 'embeddings.position_embeddings'),
      ('patch_embed.proj', 'embeddings.patch_embeddings.projection'),
      ('blocks.', 'encoder.layer.'), ('attn.proj', 'attention.output.dense'),
      ('ls1.gamma', 'layer_scale1.lambda1'),
      ('ls2.gamma', 'layer_scale2.lambda1'),
    ):
      name = name.replace(ours, theirs)
    name = name.replace('norm.', 'layernorm.') if name[0] == 'n' else name
    if 'qkv' in name:
      parts = zip(('query', 'key', 'value'), np.split(array, 3), strict=True)
      for part, each in parts:
        found[name.replace('attn.qkv', f'attention.attention.{part}')] = each
    else:
      found[name] = array
  return found


def found(arrays):
  return feature_files.Found(
    path=pathlib.Path('weights.pth'), sha256='', arrays=arrays)


@pytest.mark.parametrize('size', ['70x70', '42x42', '42x70'])
@pytest.mark.parametrize(
  'case', ['mlp_official', 'mlp_transformers', 'swiglu_official'])
def test_official_outputs(case, size):
  kind, code = case.split('_')
  arrays, images = drawn(kind == 'swiglu')
  if code == 'transformers':
    arrays = renamed(arrays)
  network, params = importer.params(found(arrays))
  height, width = map(int, size.split('x'))
  ours = jax.jit(network.clone(offset=OFFSETS[code]).apply)(
    {'params': params}, images[:, :height, :width])
  with np.load(KEPT) as file:
    for name, mine in (
      ('pooled', ours.pooled), ('patches', ours.patches[:1, ::2])):
      key = f'{case}_{size}_{name}'
      expected, tolerance = file[key], file[f'{key}__tolerance']
      assert tolerance < 1e-4 * abs(expected).max()
      np.testing.assert_allclose(mine, expected, rtol=0, atol=tolerance)


def test_a_file_becomes_an_extractor(tmp_path):
  tree, storages = files.tensors(**drawn(False)[0])
  path = tmp_path / 'dinov2.pth'
  path.write_bytes(files.archive(files.pickled(tree), storages))
  extractor = importer.load(path)
  assert extractor.network == dinov2.Dinov2(
    width=WIDTH, depth=DEPTH, heads=3, hidden=768, grid=GRID)
  assert extractor.size == (224, 224)
  assert extractor.title == f'dinov2_{extractor.sha256[:8]}'


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (224, 300), (256, 256)])
def test_images_are_resized_as_pillow_resizes_bytes(size):
  """As dgm-eval does: bytes to bytes, then ImageNet's mean and deviation."""
  images = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
  ours = importer.DGM_EVAL(images, (224, 224))
  resized = np.stack([
    np.asarray(Image.fromarray(image).resize(
      (224, 224), Image.Resampling.BICUBIC)) for image in images])
  mean, deviation = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
  truth = (resized / 255 - mean) / deviation
  off = abs(ours - truth) > 1e-5  # a half that float32 rounds the other way
  assert off.mean() < 5e-4
  assert abs(ours - truth).max() < 1.01 / 255 / min(deviation)


def test_published_counts_of_parameters():
  """304,368,640 of ViT-L, of which 1,024 stand for what training masks."""
  sizes = (
    (22_056_576, dict(width=384, depth=12, heads=6, hidden=1536)),
    (86_580_480, dict(width=768, depth=12, heads=12, hidden=3072)),
    (304_368_640, {}),
    (1_136_480_768, dict(
      width=1536, depth=40, heads=24, hidden=4096, gated=True)))
  for count, fields in sizes:
    network = dinov2.Dinov2(**fields)
    made = jax.eval_shape(
      network.init, jax.random.key(0), jnp.zeros((1, 518, 518, 3)))
    ours = sum(leaf.size for leaf in jax.tree.leaves(made))
    assert ours + network.width == count


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'norm.bias': None}, 'lacks norm.bias'),
    ({'blocks.1.ls2.gamma': None}, 'lacks blocks.1.ls2.gamma'),
    ({'blocks.1.norm1.weight': None}, 'beyond the network blocks.1'),
    ({'register_tokens': np.zeros((1, 4, WIDTH))}, 'network register_tokens'),
    ({'pos_embed': np.zeros((1, 11, WIDTH), 'f')}, 'no DINOv2.*11 places'),
    ({'cls_token': np.zeros((WIDTH,), 'f')}, 'cls_token is .192,., not'),
    ({'blocks.0.attention.query.bias': np.zeros(3, 'f')}, 'attention.key.bias'),
  ],
)  # fmt: skip
def test_another_network_is_refused(change, message):
  arrays = {**drawn(False)[0], **change}
  arrays = {n: a for n, a in arrays.items() if a is not None}
  with pytest.raises(errors.CheckpointError, match=message) as error:
    importer.params(found(arrays))
  assert '\n' not in str(error.value)


def test_missing_weights_say_where_to_get_them(monkeypatch, tmp_path):
  monkeypatch.setenv(feature_files.FOLDER, str(tmp_path))
  with pytest.raises(errors.DataError, match=r'fetch https://dl\.') as error:
    importer.load()
  assert str(tmp_path / importer.WEIGHTS.file) in str(error.value)
