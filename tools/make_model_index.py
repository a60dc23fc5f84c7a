"""Write model-index.yml and a metafile for each method from the configs: python tools/make_model_index.py.

By them mim, ``mmpretrain.list_models`` and ``get_model`` know the configs by name. Accuracies in them are those that the
grids of the papers' tables quote, with their source; nothing here was measured with OpenAI's weights. ``--check`` changes
nothing and ends with status 1 if a file is not up to date.
"""

import argparse
import re
import sys
from pathlib import Path

import yaml

from mmpretrain_mps.utils.methods import method_names, read_method

ROOT = Path(__file__).resolve().parents[1]
# Titles and addresses of the papers.
PAPERS = {
    'mps': ('Preserve and Sculpt: Manifold-Aligned Fine-tuning of Vision-Language Models for Few-Shot Learning', '2508.12877'),
    'coop': ('Learning to Prompt for Vision-Language Models', '2109.01134'),
    'tcp': ('TCP: Textual-based Class-aware Prompt tuning for Visual-Language Model', '2311.18231'),
    'textrefiner': (
        'TextRefiner: Internal Visual Feature as Efficient Refiner for Vision-Language Models Prompt Tuning',
        '2412.08176',
    ),
    'promptsrc': ('Self-regulating Prompts: Foundational Model Adaptation without Forgetting', '2307.06948'),
    'ivlp': ('Self-regulating Prompts: Foundational Model Adaptation without Forgetting', '2307.06948'),
    'tac': ('Task-Aware Clustering for Prompting Vision-Language Models', None),
    'clip_lora': ('Low-Rank Few-Shot Adaptation of Vision-Language Models', '2405.18541'),
    'clip_adapter': ('CLIP-Adapter: Better Vision-Language Models with Feature Adapters', '2110.04544'),
    'tip_adapter': ('Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification', '2207.09519'),
    'tip_adapter_f': ('Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification', '2207.09519'),
    'amu_tuning': ('AMU-Tuning: Effective Logit Bias for CLIP-based Few-shot Learning', '2404.08958'),
    'linear_probe': ('Learning Transferable Visual Models From Natural Language Supervision', '2103.00020'),
    'zero_shot': ('Learning Transferable Visual Models From Natural Language Supervision', '2103.00020'),
}
QUOTED = 'configs/grids/paper/domain_generalization.yaml'
DATASETS = {
    'ImageNet': 'ImageNet-1k',
    'imagenet_v2': 'ImageNet-V2',
    'imagenet_sketch': 'ImageNet-Sketch',
    'imagenet_a': 'ImageNet-A',
    'imagenet_r': 'ImageNet-R',
}
SHOTS = 16
# Checkpoints that are part of the package, by model.
SHIPPED = {'mps-mini_16shot_digits': 'mmpretrain_mps/checkpoints/mps-mini_16shot_digits.pth'}


def configs_of(method):
    """Return the config files of a method, relative to the root."""
    if method == 'mps':
        found = [path for path in (ROOT / 'configs').glob('mps_*.py') if not path.stem.endswith('linear_probe')]
    else:
        found = [*(ROOT / 'configs' / method).glob('*.py')]
        if method == 'linear_probe':
            found += (ROOT / 'configs').glob('mps_*_linear_probe.py')
    return sorted(path.relative_to(ROOT) for path in found)


def name_of(method, config):
    """Return the name of a model, such as ``tip-adapter-f-mini_16shot_digits``."""
    stem = config.stem
    if stem.endswith('_linear_probe'):
        stem = 'linear_probe_' + stem.removeprefix('mps_').removesuffix('_linear_probe')
    return f'{method.replace("_", "-")}-{stem.removeprefix(f"{method}_")}'


def quoted_results(method):
    """Return what is published of a method on ImageNet and its variants with 16 shots, and by whom."""
    published = yaml.safe_load((ROOT / QUOTED).read_text(encoding='utf-8'))['published']
    figures = published['recipes']['full'] if method == 'mps' else (published.get('methods') or {}).get(method) or {}
    results = [
        {'Task': 'Image Classification', 'Dataset': DATASETS[name], 'Metrics': {'Top 1 Accuracy': values[SHOTS]}}
        for name, values in figures.items()
        if name in DATASETS and SHOTS in values
    ]
    return results, figures.get('source', published['source'])


def model_of(method, label, config):
    """Return the entry of a config."""
    name = name_of(method, config)
    shots = re.search(r'_(\d+)shot_', name)
    model = {'Name': name, 'In Collection': label, 'Config': str(config), 'Metadata': {'Shots': int(shots[1]) if shots else 0}}
    if config.stem == f'{method}_vitb16_16shot_imagenet':
        results, source = quoted_results(method)
        if results:
            model['Results'] = results
            model['Metadata']['Source of Results'] = f'{source}; not measured here'
    if name in SHIPPED:
        model['Weights'] = SHIPPED[name]
    return model


def metafile_of(method):
    """Return the metafile of a method, as plain values."""
    label = read_method(method).method.label
    title, arxiv = PAPERS[method]
    collection = {
        'Name': label,
        'README': 'docs/methods.md',
        'Paper': {'Title': title, **({'URL': f'https://arxiv.org/abs/{arxiv}'} if arxiv else {})},
    }
    return {'Collections': [collection], 'Models': [model_of(method, label, config) for config in configs_of(method)]}


def files():
    """Yield every file, relative to the root, and what it should hold."""
    places = {method: Path('configs', *([] if method == 'mps' else [method]), 'metafile.yml') for method in method_names()}
    for method, place in places.items():
        yield place, _yaml(metafile_of(method))
    yield Path('model-index.yml'), _yaml({'Import': sorted(map(str, places.values()))})


def _yaml(content):
    return '# Written by tools/make_model_index.py.\n' + yaml.safe_dump(content, sort_keys=False, width=120)


def main():
    """Write the files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='change nothing; status 1 if a file is out of date')
    check, stale = parser.parse_args().check, []
    for name, text in files():
        file = ROOT / name
        if not file.is_file() or file.read_text(encoding='utf-8') != text:
            stale.append(str(name))
            if not check:
                file.write_text(text, encoding='utf-8')
    print('changed: ' + ', '.join(stale) if stale else 'up to date')
    sys.exit(1 if check and stale else 0)


if __name__ == '__main__':
    main()
