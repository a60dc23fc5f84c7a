"""What docs/contributing/ says is true: its files are written, and its commands are run, as somebody does who follows it."""

import os
import re
import subprocess
import sys

import pytest
from tiny_digits import ROOT, environment


def follow(page, folder):
    """Write the files of a page into a folder that looks like a checkout, run the commands, and return what they print."""
    text = (ROOT / 'docs' / 'contributing' / f'{page}.md').read_text(encoding='utf-8')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    files = re.findall(r'```python\n# (\S+)\n(.*?)```', text, re.DOTALL)
    assert len(files) == text.count('```python')
    for name, content in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding='utf-8')
    commands = '\n'.join(re.findall(r'```bash\n(.*?)```', text, re.DOTALL))
    commands = re.sub(r'(export PYTHONPATH=\S+)', r'\1:$BEFORE', commands)
    around = environment(MMPRETRAIN_MPS_CACHE='off')
    around.update(BEFORE=around['PYTHONPATH'], PATH=f'{os.path.dirname(sys.executable)}:{around["PATH"]}')
    done = subprocess.run(['bash', '-ec', commands], cwd=folder, env=around, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_method_is_trained_and_tested_as_its_page_says(tmp_path):
    printed = follow('method', tmp_path)
    assert (tmp_path / 'work_dirs' / 'scaled' / 'epoch_1.pth').is_file()
    assert re.search(r'fused\W+9\d\.\d', printed)


@pytest.mark.slow
def test_a_data_set_is_loaded_and_trained_on_as_its_page_says(tmp_path):
    printed = follow('data_set', tmp_path)
    (shown,) = re.findall(r'prints `(180.*?)`', (ROOT / 'docs' / 'contributing' / 'data_set.md').read_text(encoding='utf-8'))
    assert shown in printed and (tmp_path / 'work_dirs' / 'parity' / 'epoch_1.pth').is_file()


def test_a_metric_is_reported_as_its_page_says(tmp_path):
    printed = follow('metric', tmp_path)
    mean, worst = (float(re.search(rf'per_class/{name}\W+([\d.]+)', printed)[1]) for name in ('mean', 'worst'))
    assert 0 < worst < mean < 100
