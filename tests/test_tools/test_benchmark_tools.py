import json
import sys
from pathlib import Path

import pytest
import torch
from tiny_clip import save_tiny_clip
from tiny_digits import write_config
from tiny_run import ROOT, run_python
from torch.utils.flop_counter import FlopCounterMode

TOOLS = ROOT / 'tools' / 'benchmark'


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('tiny_clip'))


@pytest.mark.parametrize('gpus, options', [(0, ''), (1, '2 processes need as many GPUs, but there are 1'), (2, '')])
def test_two_processes_are_left_out_where_there_is_one_gpu(monkeypatch, gpus, options):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.delitem(sys.modules, 'machine', raising=False)
    import options_accuracy as tool

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    assert tool.why_not(tool.OPTIONS['2 processes with 16 each']) == options
    assert tool.why_not(tool.OPTIONS['bfloat16']) == ''
    # --amp would be float16 on some GPUs.
    assert 'optim_wrapper.dtype=bfloat16' in tool.OPTIONS['bfloat16'].changes
    sys.modules.pop('machine', None)


def test_options_are_the_same_within_one_standard_deviation_of_plain_training(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.delitem(sys.modules, 'machine', raising=False)
    import options_accuracy as tool

    figures = {('plain', 1): 94, ('plain', 2): 96, ('near', 1): 96, ('near', 2): 96, ('far', 1): 97, ('far', 2): 98}
    metrics = {run: {'accuracy/tuned': value, 'accuracy/fused': value} for run, value in figures.items()}
    results = tool.compare(metrics, ['plain', 'near', 'far'], [1, 2])
    assert results['plain']['fused']['std'] == pytest.approx(2**0.5) and results['plain']['fused']['same'] is None
    assert (results['near']['fused']['difference'], results['near']['fused']['same']) == (1, True)
    assert (results['far']['tuned']['difference'], results['far']['tuned']['same']) == (2.5, False)
    assert '| far | 97.50 ± 0.71 | 97.50 ± 0.71 | +2.50 |' in tool.format_results(results)
    sys.modules.pop('machine', None)


@pytest.mark.slow
@pytest.mark.parametrize(
    'method, executions, pairs',
    [('textrefiner', {'plain', 'fresh', 'kept'}, None), ('tip_adapter_f', {'plain', 'fresh', 'kept'}, 4000)],
)
def test_methods_are_measured_against_plain_executions_with_the_same_numbers(method, executions, pairs, tmp_path):
    result = run_python(
        TOOLS / 'methods.py',
        '--architecture',
        'mps-mini',
        '--methods',
        method,
        '--classes',
        '3',
        '--batch',
        '2',
        '--seconds',
        '0',
        '--out',
        tmp_path / 'methods.json',
    )
    (found,) = json.loads((tmp_path / 'methods.json').read_text())['methods']
    assert set(found['training']) >= executions and found['difference'] < 1e-3
    assert all(found['training'][name]['tflop'] <= found['training']['plain']['tflop'] for name in executions)
    assert found.get('search', {}).get('pairs') == pairs
    assert f'{method} ' in result.stdout


def test_as_many_views_are_measured_as_a_method_draws(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    from methods import views_of

    pipeline = [dict(type='LoadImageFromFile'), dict(type='DualView', num_views=2)]
    assert views_of(dict(dataset=dict(pipeline=pipeline))) == views_of(dict(pipeline=pipeline)) == 2
    assert views_of(dict(views=dict(num_views=4), dataset=dict(pipeline=pipeline))) == 4
    assert views_of(dict(views=dict(), dataset=dict(pipeline=[]))) == 1


def test_methods_measured_before_are_kept_only_where_settings_are_equal(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(TOOLS))
    from methods import other_methods, parse_arguments

    path, settings = tmp_path / 'methods.json', dict(machine=dict(threads=1), classes=397)
    path.write_text(json.dumps({**settings, 'methods': [dict(method='coop', trained=1), dict(method='tcp', trained=2)]}))
    args = parse_arguments(['--methods', 'tcp', '--add', '--out', str(path)])
    assert other_methods(args, {**settings, 'methods': []}) == [dict(method='coop', trained=1)]
    with pytest.raises(ValueError, match='methods.json was measured with classes 397, this call has 1000; leave --add out'):
        other_methods(args, {**settings, 'classes': 1000, 'methods': []})


@pytest.mark.parametrize('fused', [True, False])
def test_an_attention_counts_the_same_whether_it_is_fused_or_not(monkeypatch, fused):
    monkeypatch.syspath_prepend(str(TOOLS))
    from flops import flop_counter

    attention, tokens = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval(), torch.randn(5, 7, 16)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fused)
    try:
        with torch.no_grad(), flop_counter() as counter:
            attention(tokens, tokens, tokens, need_weights=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    # Four projections of 35 tokens, and scores and weighted sums of 5 x 7 x 7 pairs.
    assert counter.get_total_flops() == 2 * 35 * 16 * 64 + 2 * 2 * 5 * 7 * 7 * 16


@pytest.mark.slow
def test_the_start_of_a_training_is_timed_and_one_that_fails_is_shown(tmp_path):
    config, out = write_config(tmp_path, epochs=1), tmp_path / 'start.json'
    done = run_python(TOOLS / 'start.py', config, '--repeats', '1', '--out', out)
    assert done.returncode == 0, done.stderr
    assert all(seconds > 0 for seconds in json.loads(out.read_text())['seconds'].values())
    config.write_text(config.read_text().replace('MPSCLIPClassifier', 'NoClassifier'))
    failed = run_python(TOOLS / 'start.py', config, '--repeats', '1', '--out', tmp_path / 'none.json')
    assert failed.returncode != 0 and 'ended before its first iteration' in failed.stderr
    assert 'NoClassifier' in failed.stderr and not (tmp_path / 'none.json').exists()


def test_the_loader_tool_compares_sources_with_the_step(tmp_path):
    step = tmp_path / 'step-x.json'
    step.write_text(json.dumps(dict(settings=dict(batch=4), step=dict(seconds=dict(ours=0.5)), machine=dict(device='a GPU'))))
    out = tmp_path / 'loader.json'
    done = run_python(
        TOOLS / 'loader.py',
        '--quick',
        '--classes',
        '2',
        '--shots',
        '2',
        '--size',
        '64',
        '48',
        '--batch',
        '4',
        '--workers',
        '0',
        '1',
        '--step-results',
        step,
        '--out',
        out,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    rates = results['pictures_per_second']
    assert len(rates) == 4 and all(set(one) == {'0', '1'} and min(one.values()) > 0 for one in rates.values())
    assert results['step'] == dict(file='step-x.json', pictures_per_second=8.0, device='a GPU')
    assert 'the step of step-x.json consumes 8.0 pictures/s' in done.stdout
    assert not list(Path(tmp_path).glob('class_*'))


def test_the_formulas_of_the_scaling_model_are_what_is_gathered_and_multiplied(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.delitem(sys.modules, 'machine', raising=False)
    import scaling

    from mmpretrain_mps.models.computation import gathering

    sizes = dict(views=2, dim=16, classes=7, intermediate=2)
    losses = scaling.CommonLosses(batch=5, **sizes)
    with FlopCounterMode(display=False) as counter:
        losses.run(losses.inputs)
    classes_free = {key: value for key, value in sizes.items() if key != 'classes'}
    assert counter.get_total_flops() == scaling.loss_flops(ranks=1, batch=5, **sizes)
    received = []
    monkeypatch.setattr(gathering, 'world_size', lambda: 3)
    monkeypatch.setattr(gathering.dist, 'get_rank', lambda: 1)
    monkeypatch.setattr(gathering.dist, 'all_gather_into_tensor', lambda out, own: received.append(out.nbytes))
    losses.gather()
    assert received == [scaling.gathered_bytes(ranks=3, batch=5, **classes_free)]
    sys.modules.pop('scaling')
    sys.modules.pop('machine', None)


@pytest.mark.slow
def test_exported_models_are_timed_beside_the_tower(architecture, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(TOOLS))
    for name in ('export', 'machine'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import export

    monkeypatch.setattr(export, 'METHODS', ('zero_shot',))
    export.main(
        [
            '--architecture',
            architecture,
            '--pictures',
            '1',
            '3',
            '--repeats',
            '2',
            '--threads',
            '1',
            '--out',
            str(tmp_path / 'export.json'),
        ]
    )
    found = json.loads((tmp_path / 'export.json').read_text())
    names = ["open_clip's tower", 'zero_shot, PyTorch', 'zero_shot, ONNX', 'zero_shot, torch.export']
    assert {count: list(seconds) for count, seconds in found['seconds'].items()} == {'1': names, '3': names}
    assert all(value > 0 for seconds in found['seconds'].values() for value in seconds.values())
    assert found['settings']['architecture'] == architecture and found['machine']['onnxruntime']
    assert 'batch of 3: open_clip' in capsys.readouterr().out
    for name in ('export', 'machine'):
        sys.modules.pop(name, None)
