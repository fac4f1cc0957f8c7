"""Cards of small sets, judged by their pixels."""

from __future__ import annotations

import json

import numpy as np

from difjax.evaluation import (
  feature_nets,
  figures,
  image_set,
  references,
  scoring,
)
from tests.evaluation import drawn_sets

REAL = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 3), np.uint8)
HOW = figures.Figures(subsets=3, subset=20, draws=0)


def samples(folder):
  """A set of difjax; returns its folder."""
  return drawn_sets.whole(
    folder, sampler={'steps': 4}, quantiser='edm', parameters='abc'
  ).folder


def judge(how=HOW, real=REAL):
  """Judges by pixels."""
  reference = references.of_images(image_set.of_array(real))
  net = feature_nets.Pixels().load()
  return scoring.Judge(net=net, reference=reference, how=how)


def made(folder, out, **changes):
  """The card of a set."""
  return scoring.score(judge(**changes), image_set.read(folder), out)


def changed(content, **leaves):
  """A copy of a card, with leaves at a__b__c replaced."""
  content = json.loads(json.dumps(content))
  for path, value in leaves.items():
    *keys, last = path.split('__')
    part = content
    for key in keys:
      part = part[key]
    part[last] = value
  return content
