"""tools/benchmark/step.py and memory.py: both formulations of a step, what it costs, and what is refused."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from recorded_operators import RecordOperators
from tiny_clip import save_tiny_clip
from tiny_run import ROOT, run_python
from torch.autograd import DeviceType

TOOLS = ROOT / 'tools' / 'benchmark'


@pytest.fixture
def step(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    for name in ('step', 'reference', 'flops', 'machine', 'operators'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import step

    yield step
    for name in ('step', 'reference', 'flops', 'machine', 'operators'):
        sys.modules.pop(name, None)


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('tiny_clip'))


@pytest.mark.parametrize('recipe', ['official', 'paper'])
def test_the_reference_formulation_computes_the_same_losses_gradients_and_logits(step, architecture, recipe):
    bench = step.Bench(
        step.parse_arguments(['--architecture', architecture, '--recipe', recipe, '--classes', '3', '--batch', '4'])
    )
    assert bench.check_equal() < 1e-5
    gradients = []
    for name in step.FORMULATIONS:
        bench.reset()
        sum(bench.losses(name).values()).backward()
        gradients.append([parameter.grad for parameter in bench.parameters])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_formulations_with_different_numbers_are_not_compared(step, architecture):
    bench = step.Bench(step.parse_arguments(['--architecture', architecture, '--classes', '3']))
    bench.reference.adapted = bench.reference.adapted[:1]
    with pytest.raises(ValueError, match='differs by .* would be rounding'):
        bench.check_equal()


def test_counts_of_vit_b_16_are_those_of_the_method(step):
    bench = step.Bench(step.parse_arguments(['--batch', '1', '--quick']))
    visual, depths = bench.model.backbone.zero_shot, bench.model.backbone.group_depths
    reference, ours = (bench.count_flops('step', name) / 2e9 for name in step.FORMULATIONS)
    assert reference == pytest.approx(139.1, abs=0.1)
    assert ours == pytest.approx(step.least_flops(visual, depths, True) / 1e9, rel=0.02)
    reference, ours = (bench.count_flops('predict', name) / 1e9 for name in step.FORMULATIONS)
    assert reference == pytest.approx(59.6, abs=0.1)
    assert ours == pytest.approx(step.least_flops(visual, depths, False) / 1e9, rel=0.01)


def test_a_step_from_a_view_bank_has_the_same_losses_and_nothing_of_the_frozen_part(step, architecture):
    flags = ['--architecture', architecture, '--classes', '3', '--batch', '4']
    plain, banked = (step.Bench(step.parse_arguments(flags + more)) for more in ([], ['--view-bank']))
    assert banked.check_equal() < 1e-5
    saved = plain.count_flops('step', 'ours') - banked.count_flops('step', 'ours')
    with torch.no_grad():
        frozen = step.counted_flops(lambda: plain.model.frozen_features(torch.cat(plain.views)))
    # The zero-shot Gram matrices are still to be made: both formulations count them.
    assert saved == frozen > 0
    assert banked.count_flops('predict', 'ours') == plain.count_flops('predict', 'ours')


def test_the_tool_writes_times_memory_and_counts(architecture, tmp_path):
    out = tmp_path / 'step.json'
    done = run_python(
        TOOLS / 'step.py',
        '--architecture',
        architecture,
        '--classes',
        '3',
        '--quick',
        '--repeats',
        '1',
        '--profile',
        '--out',
        out,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    assert results['difference'] < 1e-5
    for task in ('step', 'predict'):
        rows = results['profile'][task]
        shares = [row['share'] for row in rows]
        assert 5 < len(rows) <= 15 and sum(shares) <= 1 and shares == sorted(shares, reverse=True)
        assert any('linear' in row['operator'] or 'mm' in row['operator'] for row in rows)
        assert f'operators of our {task} ' in done.stdout and rows[0]['operator'][:50] in done.stdout
    for task in ('step', 'predict'):
        assert results[task]['ratio'] > 0 and results[task]['gflop']['reference'] > results[task]['gflop']['ours']
        assert set(results[task]['memory']) == {'reference', 'ours'}
    assert results['machine']['versions']['torch'] == torch.__version__.split('+')[0]
    assert 'ratio' in done.stdout and str(out) in done.stdout


def test_each_formulation_has_the_loss_scaler_of_its_own_precision(step, architecture):
    bench = step.Bench(
        step.parse_arguments(
            ['--architecture', architecture, '--classes', '3', '--dtype', 'bfloat16', '--reference-dtype', 'float16']
        )
    )
    assert {name: scaler.is_enabled() for name, scaler in bench.scalers.items()} == dict(reference=True, ours=False)
    bench.step('ours')
    with RecordOperators() as recorded:
        bench.step('ours')
    # What a scaler of float16 would do, and wait for.
    assert not {'_local_scalar_dense', '_amp_foreach_non_finite_check_and_unscale_'} & set(recorded.names)
    assert {'mm', 'addmm'} & set(recorded.names)


def test_the_fused_optimizer_is_ours_alone(step, architecture):
    bench = step.Bench(step.parse_arguments(['--architecture', architecture, '--classes', '3', '--fused']))
    names = {}
    for name in step.FORMULATIONS:
        with RecordOperators() as recorded:
            bench.step(name)
        names[name] = '_fused_sgd_' in recorded.names
    assert names == dict(reference=False, ours=True)


def test_on_a_gpu_the_time_of_kernels_counts_once(step):
    from operators import own_times

    def event(key, cpu, device, kind=DeviceType.CPU, annotation=False):
        return SimpleNamespace(
            key=key,
            count=2,
            self_cpu_time_total=cpu,
            self_device_time_total=device,
            device_type=kind,
            is_user_annotation=annotation,
        )

    events = [
        event('aten::mm', 50, 3000),
        event('gemm', 0, 3000, DeviceType.CUDA),
        event('Memset', 0, 1000, DeviceType.CUDA),
        event('Optimizer.step#SGD', 5, 4000, DeviceType.CUDA, annotation=True),
        event('aten::add', 150, 1000),
    ]
    assert own_times(events, cuda=True) == [
        dict(operator='gemm', calls=2, self_ms=3.0, share=0.75),
        dict(operator='Memset', calls=2, self_ms=1.0, share=0.25),
    ]
    assert [(row['operator'], row['share']) for row in own_times(events, cuda=False)] == [('aten::add', 0.75), ('aten::mm', 0.25)]


def test_a_round_of_queued_calls_counts_as_one_call(step, monkeypatch):
    import machine

    clock = iter([0.0, 10.0])
    monkeypatch.setitem(machine.CLOCKS, 'wall', lambda: next(clock))
    called = []
    assert machine.seconds(lambda: called.append(1), torch.device('cpu'), calls=5) == 2.0 and len(called) == 5


def test_memory_is_counted_until_it_is_freed(monkeypatch, step):
    monkeypatch.delitem(sys.modules, 'memory', raising=False)
    import memory

    kept = torch.zeros(10, 10)
    with memory.without_numbers(), memory.LiveMemory() as live:
        first = kept + 1
        assert live.now == 400
        second = first.double()
        view = second[:3]
        assert live.now == live.peak == 1200
        del second
        assert live.now == 1200  # the view holds the whole storage
        del view
        assert (live.now, live.peak) == (400, 1200)
        first.add_(1)
    assert live.now == 400


def test_counted_memory_is_that_of_momentum_and_of_what_a_step_keeps_of_each_picture(monkeypatch, step, architecture):
    monkeypatch.delitem(sys.modules, 'memory', raising=False)
    import memory

    flags = ['--architecture', architecture, '--classes', '3', '--dtype', 'float32', '--batch']
    small, large = (memory.count([*flags, batch]) for batch in ('4', '8'))
    bench = step.Bench(step.parse_arguments([*flags, '4']))
    tuned = 4 * sum(parameter.numel() for parameter in bench.parameters)
    assert small['weights'] == large['weights'] >= 4 * sum(parameter.numel() for parameter in bench.model.parameters())
    for name in step.FORMULATIONS:
        per_picture = (large['above'][name] - small['above'][name]) / 4
        # Momentum is there throughout; gradients come while what was kept for them goes.
        assert tuned < small['above'][name] - 4 * per_picture < 4 * tuned
    # As measured (docs/speed.md): less than half of the reference.
    assert large['above']['ours'] - small['above']['ours'] < 0.5 * (large['above']['reference'] - small['above']['reference'])


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--device', 'cuda'], '--device is cuda, but PyTorch sees no GPU here'),
        (['--precision', 'tf32'], '--precision tf32 is of GPUs, but --device is cpu'),
        (['--largest-batch'], '--largest-batch searches the memory of a GPU, but --device is cpu'),
        (['--repeats', '0', '--batch', '-1'], '--batch is -1, expected 1 or more'),
        (['--architecture', 'no-such', '--no-memory'], "unknown architecture 'no-such'"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_message(step, monkeypatch, capsys, flags, message):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit) as exit_:
        step.main(flags)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error and 'Traceback' not in error


def test_result_files_of_different_settings_have_different_names(step, monkeypatch):
    monkeypatch.setattr(torch, 'set_num_threads', lambda number: None)  # would hold for all tests that follow
    flags = [
        [],
        ['--batch', '2'],
        ['--classes', '7'],
        ['--recipe', 'paper'],
        ['--reference-dtype', 'float16'],
        ['--threads', '1'],
        ['--clock', 'process'],
        ['--compile'],
        ['--no-onednn'],
        ['--dtype', 'bfloat16'],
        ['--fused'],
        ['--device', 'cuda'],
        ['--device', 'cuda', '--precision', 'tf32'],
    ]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    names = [step.name_of(step.parse_arguments(chosen)) for chosen in flags]
    assert names[0] == 'step-ViT-B-16-cpu-float32-batch4' and len(set(names)) == len(names)
