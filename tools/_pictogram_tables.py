"""Tables of docs/pictograms.md; see fill_readme.py."""

from _method_tables import read

from mmpretrain_mps.engine.loops.domain_report import markdown_table

DOMAINS = dict(source='source', older='older', other_artist='other artist', sketch='sketch', distorted='distorted')


def pictogram_card():
    """Return what the pictogram CLIP scores before any tuning."""
    tasks = read('pictogram_clip_card.json')['zero_shot_percent']['test']
    rows = []
    for task, found in tasks.items():
        classes = found['source']['classes']
        rows.append(
            [
                f'{task} ({classes} classes, chance {100 / classes:.1f})',
                *(
                    f'{found[domain]["accuracy"]:.1f} ({found[domain]["pictures"]:,})' if domain in found else ''
                    for domain in DOMAINS
                ),
            ]
        )
    return markdown_table(['zero-shot, % (pictures)', *DOMAINS.values()], rows)


def pictogram_data():
    """Return what the pictogram CLIP was trained on, and for how long, in a sentence."""
    card = read('pictogram_clip_card.json')
    drawings = sum(style['drawings'] for style in card['styles'].values())
    threads = card['machine']['threads']
    seen = card['tested_concepts']['kinds']
    return (
        f'{drawings:,} drawings of {card["names"]:,} names, {card["words"]:,} words; {card["images_seen"]:,} pictures in '
        f'{card["recipe"]["steps"]:,} steps, {card["seconds_training"] / 60:.0f} minutes on {threads} core'
        f'{"s" if threads > 1 else ""} of a machine with other work to do. Of the {seen["concepts"]} concepts that kinds are '
        f'tested on, {seen["seen"]} were in captions.'
    )


def pictogram_tuned():
    """Return accuracy over shots on kinds, one draw each."""
    cells = sorted(read('pictogram_kinds/results.json')['cells'], key=lambda cell: cell['shots'])
    rows = [
        [
            str(cell['shots']),
            branch.replace('_', '-'),
            *(
                f'{cell["metrics"][f"{domain}/accuracy/{branch}" if domain != "source" else f"accuracy/{branch}"]:.1f}'
                for domain in DOMAINS
            ),
        ]
        for cell in cells
        for branch in ('zero_shot', 'tuned', 'fused')
    ]
    return markdown_table(['shots', 'branch', *DOMAINS.values()], rows)


PICTOGRAM_BLOCKS = dict(pictogram_card=pictogram_card, pictogram_data=pictogram_data, pictogram_tuned=pictogram_tuned)
