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
    devices = [part['device'] for part in (*card['recipes_of_earlier_parts'], card['recipe'])]
    names = ' and '.join('one core' if name == 'cpu' else f'an {name}' for name in dict.fromkeys(devices))
    seen = card['tested_concepts']['kinds']
    return (
        f'{drawings:,} drawings of {card["names"]:,} names, {card["words"]:,} words; {card["images_seen"]:,} pictures in '
        f'{card["recipe"]["steps"]:,} steps, {card["seconds_training"] / 60:.0f} minutes on {names}. Of the {seen["concepts"]} '
        f'concepts that kinds are tested on, {seen["seen"]} were in captions.'
    )


PICTOGRAM_BLOCKS = dict(pictogram_card=pictogram_card, pictogram_data=pictogram_data)
