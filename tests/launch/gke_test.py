"""The JobSets that gke.sh hands to kubectl, against schemas and each other.

Two schemas: the one that a cluster itself uses, of the CRD of JobSet v0.12.0,
which knows every field; and one by hand of those that our files may use.
"""

from __future__ import annotations

import copy
import gzip
import inspect
import json

import pytest

from difjax import errors
from tests.launch import dry_run_test as runs
from tests.launch import sandbox as sandboxes

yaml = pytest.importorskip('yaml', reason='PyYAML is not installed')
jsonschema = pytest.importorskip('jsonschema', reason='it is not installed')

ENVIRONMENTS = {'tpu': runs.TPUS, 'gpu': runs.GPUS}


@pytest.fixture(params=ENVIRONMENTS)
def jobset(sandbox, request):
  return applied(sandbox, ENVIRONMENTS[request.param])


def applied(sandbox, env):
  """Returns what kubectl is given on its standard input."""
  sandbox.hook('kubectl', '[ "$2" != --filename=- ] || cat >"$root/given"\n')
  sandbox.run('gke/gke.sh', 'apply', *runs.TRAIN, env=env)
  return yaml.safe_load((sandbox.root / 'given').read_text())


def ours():
  return yaml.safe_load((runs.GOLDEN / 'jobset.schema.yaml').read_text())


def closed(schema):
  """Returns a CRD's schema that refuses fields which a cluster would drop."""
  if isinstance(schema, list):
    return [closed(part) for part in schema]
  if not isinstance(schema, dict):
    return schema
  found = {key: closed(value) for key, value in schema.items()}
  if 'properties' in schema and isinstance(schema.get('type'), str):
    found.setdefault('additionalProperties', False)
  return found


@pytest.fixture(scope='module')
def crd():
  """The schema of the CustomResourceDefinition itself."""
  with gzip.open(runs.GOLDEN / 'jobset.crd.json.gz') as file:
    schema = json.load(file)
  # Kubernetes checks a resource's metadata itself.
  schema['properties']['metadata'] = ours()['$defs']['meta']
  schema['$defs'] = ours()['$defs']
  return closed(schema)


def test_fits_our_schema(jobset):
  jsonschema.Draft202012Validator(ours()).validate(jobset)


def test_fits_the_clusters_schema(jobset, crd):
  jsonschema.Draft202012Validator(crd).validate(jobset)


def pod(jobset):
  [job] = jobset['spec']['replicatedJobs']
  return job['template']['spec']['template']['spec']


def misspelt_retries(jobset):
  jobset['spec']['failurePolicy']['maxRestart'] = 3


def text_for_a_number(jobset):
  [job] = jobset['spec']['replicatedJobs']
  job['template']['spec']['parallelism'] = 'four'


def unknown_action(jobset):
  jobset['spec']['failurePolicy']['rules'][0]['action'] = 'GiveUp'


def no_jobs_template(jobset):
  del jobset['spec']['replicatedJobs'][0]['template']


def misplaced_field(jobset):
  pod(jobset)['backoffLimit'] = 0


MISTAKES = [
  misspelt_retries, text_for_a_number, unknown_action, no_jobs_template,
  misplaced_field,
]  # fmt: skip


@pytest.mark.parametrize('mistake', MISTAKES)
def test_our_schema_refuses(jobset, mistake):
  refused(ours(), jobset, mistake)


@pytest.mark.parametrize(
  'mistake', [mistake for mistake in MISTAKES if mistake != no_jobs_template]
)
def test_the_clusters_schema_refuses(jobset, mistake, crd):
  refused(crd, jobset, mistake)


def refused(schema, jobset, mistake):
  wrong = copy.deepcopy(jobset)
  mistake(wrong)
  with pytest.raises(jsonschema.ValidationError):
    jsonschema.Draft202012Validator(schema).validate(wrong)


def test_the_command_is_the_users(jobset):
  [container] = pod(jobset)['containers']
  assert container['command'] == runs.TRAIN


@pytest.mark.parametrize(
  'word', ['"', '\\', "it's", '$HOME ${DIFJAX_JOB}', 'a: b # c', '&', '|']
)
def test_any_argument_survives(sandbox, word):
  sandbox.hook('kubectl', '[ "$2" != --filename=- ] || cat >"$root/given"\n')
  sandbox.run('gke/gke.sh', 'apply', 'difjax', word, env=runs.GPUS)
  given = yaml.safe_load((sandbox.root / 'given').read_text())
  [container] = pod(given)['containers']
  assert container['command'] == ['difjax', word]


def test_starts_again_after_42_and_a_kill_and_nothing_else(jobset):
  [job] = jobset['spec']['replicatedJobs']
  spec = job['template']['spec']
  [rule] = spec['podFailurePolicy']['rules']
  kinds = inspect.getmembers(errors, inspect.isclass)
  codes = {kind.exit_code for _, kind in kinds}
  permanent = set(rule['onExitCodes']['values'])
  assert rule['action'] == 'FailJob'
  assert rule['onExitCodes']['operator'] == 'In'
  assert codes - permanent == {errors.RetryError.exit_code}
  assert max(permanent) < 128
  [container] = pod(jobset)['containers']
  assert rule['onExitCodes']['containerName'] == container['name']
  # A Job that failed for it fails the JobSet; any other one starts it again.
  [last] = jobset['spec']['failurePolicy']['rules']
  assert last['action'] == 'FailJobSet'
  assert last['onJobFailureReasons'] == ['PodFailurePolicy']
  assert spec['backoffLimit'] == 0
  assert jobset['spec']['failurePolicy']['maxRestarts'] == 100


def test_every_machine_has_one_pod(jobset):
  [job] = jobset['spec']['replicatedJobs']
  spec = job['template']['spec']
  assert spec['completionMode'] == 'Indexed'
  assert spec['parallelism'] == spec['completions']


def test_gpus_are_told_their_place(sandbox):
  given = applied(sandbox, runs.GPUS)
  [job] = given['spec']['replicatedJobs']
  [container] = pod(given)['containers']
  env = {e['name']: e.get('value') for e in container['env']}
  # The name that JobSet gives a pod: JOBSET-JOB-INDEX-POD.SUBDOMAIN.
  name = given['metadata']['name']
  assert env['DIFJAX_COORDINATOR'] == f'{name}-{job["name"]}-0-0.{name}:8476'
  assert env['DIFJAX_NUM_PROCESSES'] == '2'
  assert given['spec']['network']['enableDNSHostnames']
  [rank] = [e for e in container['env'] if e['name'] == 'DIFJAX_PROCESS_ID']
  path = rank['valueFrom']['fieldRef']['fieldPath']
  assert 'batch.kubernetes.io/job-completion-index' in path
  assert container['resources']['limits'] == {'nvidia.com/gpu': 8}


def test_slices_are_what_was_asked_for(sandbox):
  given = applied(sandbox, runs.TPUS)
  [job] = given['spec']['replicatedJobs']
  assert job['replicas'] == 2
  assert job['template']['spec']['parallelism'] == 4
  assert pod(given)['nodeSelector'] == {
    'cloud.google.com/gke-tpu-accelerator': 'tpu-v5-lite-podslice',
    'cloud.google.com/gke-tpu-topology': '4x4',
  }


def test_what_was_not_set_is_named(sandbox):
  env = {k: v for k, v in runs.TPUS.items() if k != 'DIFJAX_TOPOLOGY'}
  said = sandbox.run('gke/gke.sh', 'apply', 'difjax', env=env, code=2)
  assert said == 'set DIFJAX_TOPOLOGY\n'
  assert not sandbox.calls()


def test_pods_may_run_as_their_account(jobset):
  text = (sandboxes.LAUNCH / 'gke' / 'rbac.yaml').read_text()
  account, role, binding = yaml.safe_load_all(text)
  assert pod(jobset)['serviceAccountName'] == account['metadata']['name']
  assert binding['roleRef']['name'] == role['metadata']['name']
  assert binding['subjects'] == [
    {'kind': 'ServiceAccount', 'name': account['metadata']['name']}
  ]
  verbs = {verb for rule in role['rules'] for verb in rule['verbs']}
  assert verbs == {'get', 'list'}  # nothing is changed in the cluster


def test_the_image_is_made_of_files_that_are_there():
  lines = (sandboxes.LAUNCH / 'gke' / 'Dockerfile').read_text().splitlines()
  words = [line.split() for line in lines if line.startswith('COPY ')]
  copied = [name for _, *names, _ in words for name in names]
  assert {'setup.cfg', 'difjax', 'configs'} <= set(copied)
  for name in copied:
    assert (sandboxes.REPOSITORY / name).exists(), name


def test_a_failure_of_kubectl_is_the_launchers(sandbox):
  sandbox.hook('kubectl', 'exit 3\n')
  for verb in (['status'], ['delete'], ['stop'], ['apply', 'difjax']):
    sandbox.run('gke/gke.sh', *verb, env=runs.TPUS, code=3)
