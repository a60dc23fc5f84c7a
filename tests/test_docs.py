"""The code of docs/python.md runs as it stands."""
import re
from unittest import mock

from own_pictures import write_pictures
from tiny_digits import ROOT


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    write_pictures(tmp_path / 'pictures' / 'train', 4)
    write_pictures(tmp_path / 'pictures' / 'test', 4, start=20)
    for place, path in enumerate(sorted((tmp_path / 'pictures' / 'test' / 'two').iterdir())):
        path.rename(path.with_name(f'{place:03d}.png'))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'python.md').read_text(encoding='utf-8'), re.DOTALL)
    names = {}
    with mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True)):
        for block in blocks:
            exec(block, names)
    printed = capsys.readouterr().out
    assert len(blocks) == 5 and '(12, 3)' in printed.replace('torch.Size([12, 3])', '(12, 3)')
    assert (tmp_path / 'model.pth').is_file() and names['digits'].classes_.tolist() == ['one', 'three', 'two', 'four', 'five']
