"""Guidance by contrast on data whose every denoiser is known."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difjax import denoising, processes, sampling
from difjax.denoising import (
  conditioning,
  contrast,
  guidance,
  prediction,
  thresholding,
)
from difjax.processes import base
from difjax.sampling import samplers
from tests import analytic
from tests.denoising import guidance_test
from tests.denoising.guidance_test import DATA

pytestmark = pytest.mark.usefixtures('x64')
LABEL = jnp.asarray([0, 1, 2, 2, 1, 0])
COND = {'label': LABEL}
X = np.zeros((2, 9))
RULES = {
  'extrapolated': contrast.Extrapolated(),
  'some channels': contrast.Extrapolated(channels=1),
  'rescaled': contrast.Rescaled(),
}


def exact(process):
  """The mixture under a condition: a component, or at -1 all of them."""

  def conditioned(cond):
    label = cond['label'][:, None]

    def denoise(x, t):
      alpha, sigma = process.alpha(t), process.sigma(t)
      joint, r, c_r = DATA._parts(x, alpha, sigma)
      chosen = jax.nn.one_hot(label[:, 0], 3)
      share = jnp.where(label < 0, jax.nn.softmax(joint), chosen)[..., None]
      alpha, sigma = base.expand(alpha, x), base.expand(sigma, x)
      x0 = jnp.asarray(DATA.means) + alpha[..., None] * c_r
      return prediction.Prediction(
        jnp.sum(share * x0, axis=1), sigma * jnp.sum(share * r, axis=1)
      )

    return denoise

  return conditioned


def assert_pairs_equal(found, wanted, tolerance=1e-10):
  for field in ('x0', 'eps'):
    np.testing.assert_allclose(
      getattr(found, field), getattr(wanted, field), rtol=tolerance,
      atol=tolerance,
    )  # fmt: skip


def test_scale_one_is_the_exact_conditional(process):
  x, t = guidance_test.seen(process)
  found = contrast.classifier_free(exact(process), process, COND, 1.0)(x, t)
  each = [guidance_test.component(process, k)(x, t) for k in range(3)]
  pick = lambda *parts: jnp.stack(parts)[LABEL, jnp.arange(6)]
  assert_pairs_equal(found, jax.tree.map(pick, *each))


def test_scale_zero_is_the_exact_unconditional(process):
  x, t = guidance_test.seen(process)
  found = contrast.classifier_free(exact(process), process, COND, 0.0)(x, t)
  assert_pairs_equal(found, DATA.denoiser(process)(x, t))


@pytest.mark.parametrize('w', [-0.5, 3.0])
def test_the_score_is_that_of_the_tilted_density(process, w):
  """By differentiation of log p_0^(1 - w) p_1^w, and so it is by Bayes' rule
  with w times the classifier's gradient."""
  x, t = guidance_test.seen(process)
  alpha, sigma = process.alpha(t), process.sigma(t)

  def tilted(x):
    joint, _, _ = DATA._parts(x, alpha, sigma)
    one = (joint - np.log(DATA.weights))[jnp.arange(6), LABEL]
    return jnp.sum((1 - w) * DATA.logp(x, alpha, sigma) + w * one)

  found = contrast.classifier_free(exact(process), process, COND, w)(x, t)
  np.testing.assert_allclose(
    prediction.score(found, process, t), jax.grad(tilted)(x),
    rtol=1e-9, atol=1e-9,
  )  # fmt: skip
  by_classifier = guidance.classifier_guided(
    DATA.denoiser(process), process, guidance_test.classifier(process), LABEL, w
  )(x, t)
  assert_pairs_equal(found, by_classifier, 1e-9)


@pytest.mark.parametrize('w', [2.5])
def test_gaussians_of_one_width_tilt_to_a_third(process, w):
  """N(m, s^2)^(1 - w) N(n, s^2)^w is N(m + w (n - m), s^2), up to a number."""
  x, t = guidance_test.seen(process)
  law = functools.partial(analytic.Gaussian, std=0.6)
  found = contrast.autoguided(
    law(0.7).denoiser(process), law(0.2).denoiser(process), process, w
  )(x, t)
  assert_pairs_equal(found, law(0.2 + w * 0.5).denoiser(process)(x, t))


@pytest.mark.parametrize('w', [2.5])
def test_a_wider_guide_narrows_what_it_guides(process, w):
  """Autoguidance by N(m, C), C > c: precisions at t are (1) as scores are."""
  x, t = guidance_test.seen(process)
  good, bad = analytic.Gaussian(0.3, 0.5), analytic.Gaussian(0.3, 0.9)
  guided = contrast.autoguided(
    good.denoiser(process), bad.denoiser(process), process, w
  )(x, t)
  (mean, wide), (_, narrow) = (law.marginal(process, t) for law in (bad, good))
  precision = (1 - w) / wide + w / narrow
  wanted = -precision[:, None] * (x - mean[:, None])
  np.testing.assert_allclose(
    prediction.score(guided, process, t), wanted, rtol=1e-9, atol=1e-9
  )


def test_a_model_guided_by_itself_is_itself(process):
  x, t = guidance_test.seen(process)
  model = DATA.denoiser(process)
  found = contrast.autoguided(model, model, process, 7.0)(x, t)
  assert_pairs_equal(found, model(x, t), 1e-14)


@pytest.mark.parametrize('rule', RULES.values(), ids=RULES)
def test_the_pair_still_adds_up_to_x(process, rule):
  x, t = guidance_test.seen(process)
  pair = contrast.classifier_free(
    exact(process), process, COND, 3.0, rule=rule
  )(x, t)
  np.testing.assert_allclose(
    process.perturb(pair.x0, pair.eps, t), x, rtol=1e-10, atol=1e-10
  )


@pytest.mark.parametrize('scalar', [False, True])
def test_one_batch_or_two_is_the_same(scalar):
  process = processes.VP()
  x, t = guidance_test.seen(process)
  t = 0.4 if scalar else t
  sizes = {True: [], False: []}

  def found(together):
    def conditioned(cond):
      def denoise(x, t):
        sizes[together].append((len(x), cond['label'].tolist()))
        return exact(process)(cond)(x, t)

      return denoise

    return contrast.classifier_free(
      conditioned, process, COND, 2.0, together=together
    )(x, t)

  assert_pairs_equal(found(True), found(False), 1e-13)
  first, null = LABEL.tolist(), 6 * [-1]
  assert sizes[True] == [(12, first + null)]
  assert sizes[False] == [(6, first), (6, null)]


def test_another_condition_may_stand_for_none():
  process = processes.VP()
  x, t = guidance_test.seen(process)
  model = exact(process)
  other = {'label': (LABEL + 1) % 3}
  found = contrast.classifier_free(model, process, COND, 2.0, null=other)(x, t)
  wanted = contrast.autoguided(model(COND), model(other), process, 2.0)(x, t)
  assert_pairs_equal(found, wanted, 1e-13)


def test_weights_of_classes_are_hidden_as_zeros():
  cond = {'label': jnp.asarray([[0.5, 0.5], [0.0, 1.0]]), 'augment': X}
  hidden = contrast.without_label(cond)
  np.testing.assert_array_equal(hidden['label'], np.zeros((2, 2)))
  assert hidden['augment'] is X
  hidden = contrast.without_label({'label': LABEL})
  np.testing.assert_array_equal(hidden['label'], np.full(6, -1))


def test_what_has_no_label_is_left_alone():
  process = processes.VP()
  x, t = guidance_test.seen(process)
  cond = {'label': jnp.asarray([0, -1, 2, -1, 1, 0])}
  found = contrast.classifier_free(exact(process), process, cond, 4.0)(x, t)
  gap = np.abs(found.x0 - DATA.denoiser(process)(x, t).x0).max(axis=1)
  np.testing.assert_array_equal(gap < 1e-14, np.asarray(cond['label']) < 0)


def test_every_image_may_have_a_scale_of_its_own_and_every_time_too():
  process = processes.VP()
  x, t = guidance_test.seen(process)
  model = exact(process)
  by_image = 1.0 + jnp.arange(6)
  by_time = conditioning.Linear(factor=2.0, offset=1.0)
  whole = {
    'image': contrast.classifier_free(model, process, COND, by_image)(x, t),
    'time': contrast.classifier_free(model, process, COND, by_time)(x, t),
  }
  scales = {'image': by_image, 'time': 1 + 2 * t}
  for name, pairs in whole.items():
    for i, w in enumerate(scales[name]):
      one = slice(i, i + 1)
      alone = contrast.classifier_free(
        model, process, {'label': LABEL[one]}, float(w)
      )(x[one], t[one])
      assert_pairs_equal(jax.tree.map(lambda v, one=one: v[one], pairs), alone)
  guided = guidance.classifier_guided(
    DATA.denoiser(process), process, guidance_test.classifier(process), LABEL,
    by_image,
  )(x, t)
  assert_pairs_equal(guided, whole['image'], 1e-9)


def test_the_first_channels_are_guided_and_the_rest_is_conditional():
  process = processes.RectifiedFlow()
  x, t = guidance_test.seen(process)
  model = exact(process)
  found, line = (
    contrast.classifier_free(model, process, COND, 4.0, rule=rule)(x, t)
    for rule in (contrast.Extrapolated(channels=1), contrast.Extrapolated())
  )
  for part in ('x0', 'eps'):
    some, guided, plain = (
      getattr(pair, part) for pair in (found, line, model(COND)(x, t))
    )
    np.testing.assert_allclose(some[:, 0], guided[:, 0], rtol=1e-12)
    np.testing.assert_allclose(some[:, 1], plain[:, 1], rtol=1e-12)
    assert np.abs(some[:, 0] - plain[:, 0]).max() > 0.1


def flat(parts):
  """A denoiser of images [2, 4] that knows nothing of x but its parts."""
  return lambda x, t: denoising.Prediction(*(jnp.asarray(p) for p in parts))


@pytest.mark.parametrize('factor', [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
  'target', [denoising.V(), denoising.Data(), denoising.Noise()], ids=repr
)
def test_rescaled_targets_keep_their_spread(target, factor):
  """At alpha = 0.6, sigma = 0.8, with the standard deviations by numpy."""
  process = processes.RectifiedFlow()
  t = jnp.asarray([0.6, 0.3])
  x = jax.random.normal(jax.random.key(0), (2, 4))
  alpha, sigma = 1 - t[:, None], t[:, None]
  x0 = jax.random.normal(jax.random.key(1), (2, 2, 4))
  full, weak = (flat((v, (x - alpha * v) / sigma)) for v in x0)
  y = {
    denoising.V(): lambda p: alpha * p.eps - sigma * p.x0,
    denoising.Data(): lambda p: p.x0,
    denoising.Noise(): lambda p: p.eps,
  }[target]
  plain = contrast.autoguided(full, weak, process, 3.0)(x, t)
  found = contrast.autoguided(
    full, weak, process, 3.0,
    rule=contrast.Rescaled(factor=factor, target=target),
  )(x, t)  # fmt: skip
  before, after = np.asarray(y(plain)), np.asarray(y(found))
  wide, kept = before.std(axis=1), np.asarray(y(full(x, t))).std(axis=1)
  np.testing.assert_allclose(
    after.std(axis=1), factor * kept + (1 - factor) * wide, rtol=1e-10
  )
  ratio = after / before
  np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(4), rtol=1e-10)


def test_plus_plus_is_guidance_that_fades_with_the_noise():
  """A step of DDIM, at the scale that the module's docstring derives."""
  process = processes.VP()
  x, _ = guidance_test.seen(process)
  t, s = jnp.asarray(0.6), jnp.asarray(0.35)
  level = lambda u: process.sigma(u) / process.alpha(u)
  step = lambda denoiser: sampling.DDIM().step(
    denoiser, process, (), x, t, s, None
  )[0]
  guided = functools.partial(
    contrast.classifier_free, exact(process), process, COND
  )
  w = 0.6
  found = step(guided(w, rule=contrast.CFGPlusPlus()))
  wanted = step(guided(w / (1 - level(s) / level(t))))
  np.testing.assert_allclose(found, wanted, rtol=1e-10)
  assert np.abs(found - step(guided(w))).max() > 0.01


def counted(denoiser):
  """A denoiser, and how often it was evaluated so far, once called."""
  calls = []
  return samplers.counted(denoiser, lambda: calls.append(1)), calls


@pytest.mark.parametrize('level', [0.3, 0.30001, 1.0, 2.0, 2.00001])
def test_an_interval_leaves_other_levels_alone_and_unevaluated(level):
  process = processes.EDM()
  x = jax.random.normal(jax.random.key(0), (6, 2))
  model = exact(process)
  guided, calls = counted(
    contrast.classifier_free(model, process, COND, 3.0)
  )
  plain, others = counted(model(COND))
  denoise = jax.jit(contrast.interval_limited(guided, plain, process, 0.3, 2.0))
  found = denoise(x, jnp.asarray(level))
  jax.effects_barrier()
  inside = 0.3 < level <= 2.0
  assert (len(calls), len(others)) == (int(inside), int(not inside))
  w = 3.0 if inside else 1.0
  wanted = contrast.classifier_free(model, process, COND, w)(x, level)
  assert_pairs_equal(found, wanted)


def test_an_interval_holds_for_each_image():
  process = processes.VP()
  x, t = guidance_test.seen(process)
  model = exact(process)
  level = process.sigma(t) / process.alpha(t)
  low, high = float(level[1]), float(level[3])
  found = contrast.interval_limited(
    contrast.classifier_free(model, process, COND, 3.0), model(COND), process,
    low, high,
  )(x, t)  # fmt: skip
  scales = jnp.where((level > low) & (level <= high), 3.0, 1.0)
  assert scales.tolist() == [1, 1, 3, 3, 1, 1]
  wanted = contrast.classifier_free(model, process, COND, scales)(x, t)
  assert_pairs_equal(found, wanted)


@pytest.mark.parametrize(
  'rule', [*RULES.values(), contrast.CFGPlusPlus()], ids=[*RULES, 'plus plus']
)
@pytest.mark.parametrize('together', [True, False])
def test_a_learned_spread_is_that_of_the_condition(rule, together):
  process = processes.VP()
  x, t = guidance_test.seen(process)
  model = exact(process)

  def learned(cond):
    spread = jnp.broadcast_to(0.2 + 0.1 * cond['label'][:, None], (
      len(cond['label']), 2,
    ))  # fmt: skip
    return lambda x, t: model(cond)(x, t)._replace(spread=spread)

  guided = contrast.classifier_free(
    learned, process, COND, 3.0, rule=rule, together=together
  )
  denoise = contrast.interval_limited(guided, learned(COND), process, 0.0, 1e9)
  found = thresholding.thresholded(denoise, process)(x, t)
  np.testing.assert_allclose(
    found.spread, 0.2 + 0.1 * np.stack([LABEL, LABEL], axis=1)
  )


def test_guidances_add_up():
  """Away from no label by 2, towards the label by a classifier by 3: by 5."""
  process = processes.VP()
  x, t = guidance_test.seen(process)
  free = contrast.classifier_free(exact(process), process, COND, 2.0)
  both = guidance.classifier_guided(
    free, process, guidance_test.classifier(process), LABEL, 3.0
  )(x, t)
  wanted = contrast.classifier_free(exact(process), process, COND, 5.0)(x, t)
  assert_pairs_equal(both, wanted, 1e-8)


@pytest.mark.parametrize('scalar', [False, True])
def test_a_guide_of_another_process_is_moved(smooth, scalar):
  own = processes.EDM(t_min=1e-6, t_max=1e4)
  x, t = guidance_test.seen(smooth)
  t = 0.4 * smooth.t_max if scalar else t
  moved = guidance.transported(DATA.denoiser(own), own, smooth)
  assert_pairs_equal(moved(x, t), DATA.denoiser(smooth)(x, t), 1e-7)
