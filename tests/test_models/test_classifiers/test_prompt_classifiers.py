"""What all methods do that learn prompts of the text tower while pictures pass through the frozen one."""

import open_clip
import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from recorded_operators import WAITING, RecordOperators
from tiny_clip import NAMES, save_tiny_clip, shake

from mmpretrain_mps.models import CoOpClassifier, TCPClassifier
from mmpretrain_mps.models.caches.view_bank import BankLayout, ViewBank
from mmpretrain_mps.models.classifiers.test_features import TestFeatures

PICTURES = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(4))
TOKENIZER = open_clip.SimpleTokenizer()
LABELS = [0, 1, 1, 2, 0, 2]
OTHER_NAMES = ('grey wolf', 'brown_bear')
METHODS = {
    'end': (CoOpClassifier, dict(num_context=3)),
    'middle': (CoOpClassifier, dict(num_context=3, class_position='middle')),
    'front': (CoOpClassifier, dict(num_context=2, class_position='front')),
    'words': (CoOpClassifier, dict(num_context=4, context_init='a photo of a')),
    'own': (CoOpClassifier, dict(num_context=3, class_specific=True)),
    'own words': (CoOpClassifier, dict(num_context=2, class_specific=True, context_init='a photo')),
    'own middle': (CoOpClassifier, dict(num_context=3, class_specific=True, class_position='middle')),
    'tcp': (TCPClassifier, dict(num_context=4, class_aware_block=2)),
    'tcp templates': (
        TCPClassifier,
        dict(num_context=2, class_aware_block=1, prompt_template='{}, a type of pet.', knowledge_template='one {} here'),
    ),
}
ANY_CLASSES = [name for name in METHODS if not name.startswith('own')]
every_method = pytest.mark.parametrize('name', METHODS)


@pytest.fixture(scope='module')
def architecture(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp('clip'), text=dict(width=16, heads=2, layers=3))


@pytest.fixture(autouse=True)
def one_tokenizer(monkeypatch):
    """Read the vocabulary once for all models here, which all have the same."""
    monkeypatch.setattr(open_clip, 'get_tokenizer', lambda name: TOKENIZER)


@pytest.fixture
def build(architecture):
    """Build a method whose trained parameters are no longer at their start, unless told otherwise."""

    def build_method(name, shaken=True, **options):
        kind, own = METHODS[name]
        config = dict(architecture=architecture, pretrained=None, class_names=NAMES, logit_scale=20.0, **own)
        torch.manual_seed(0)
        model = kind(**{**config, **options})
        return shake(model, scale=0.3) if shaken else model

    return build_method


def samples():
    return [DataSample().set_gt_label(label) for label in LABELS]


def total(model, views=(PICTURES,)):
    losses = model(views if hasattr(views, '_fields') else list(views), samples(), mode='loss')
    return sum(value for key, value in losses.items() if 'loss' in key)


def gradients(model, *arguments):
    model.zero_grad()
    total(model, *arguments).backward()
    return {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}


def trained(model):
    return {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}


@every_method
def test_it_learns_by_its_own_parameters_alone_and_the_frozen_ones_stay_to_the_last_bit(build, name):
    model = build(name).train()
    own = trained(model)
    assert set(own) == (
        {'context'}
        if 'tcp' not in name
        else {'context', *(f'meta_net.{part}' for part in ('linear1.weight', 'linear1.bias', 'linear2.weight', 'linear2.bias'))}
    )
    assert set(gradients(model)) == set(own) and all(gradient.abs().max() > 0 for gradient in gradients(model).values())
    frozen = {key: value.clone() for key, value in model.named_parameters() if key not in own}
    assert any(key.startswith('text_tower') for key in frozen)
    optimizer, before = torch.optim.Adam(own.values(), lr=0.05), total(model).item()
    for _ in range(8):
        optimizer.zero_grad()
        total(model).backward()
        optimizer.step()
    assert total(model).item() < 0.95 * before
    assert all(torch.equal(value, frozen[key]) for key, value in model.named_parameters() if key in frozen)


@every_method
def test_the_state_holds_what_is_trained_and_made_of_the_classes_and_gives_the_same_predictions(build, name, tmp_path):
    model = build(name).eval()
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    state = torch.load(tmp_path / 'model.pth', weights_only=True)
    of_classes = {'text_prototypes', 'token_ids', '_extra_state'} | ({'name_lengths'} if 'tcp' not in name else set())
    assert set(state) == set(trained(model)) | of_classes
    fresh = build(name, shaken=False, class_names=None)
    with pytest.raises(ValueError, match='no class names'):
        fresh(PICTURES)
    fresh.load_state_dict(state)
    assert fresh.class_names == NAMES and torch.equal(fresh(PICTURES), model(PICTURES))


def test_states_of_other_settings_methods_and_bases_are_refused(build, tmp_path):
    other = save_tiny_clip(tmp_path / 'other', seed=1, text=dict(width=16, heads=2, layers=3))
    for name, changed, message in (
        ('end', dict(class_position='front'), 'class_position=end, but this model has front'),
        ('end', dict(class_specific=True), 'class_specific=False, but this model has True'),
        ('end', dict(num_context=2), 'num_context=3, but this model has 2'),
        ('end', dict(prompt_template='{}, a pet'), 'prompt_template={}., but this model has {}, a pet'),
        ('tcp', dict(class_aware_block=1), 'class_aware_block=2, but this model has 1'),
        ('tcp', dict(knowledge_template='{}'), 'knowledge_template=None, but this model has {}'),
        ('tcp', dict(architecture=other), 'was tuned from .*, but this model is built on'),
    ):
        with pytest.raises(ValueError, match=message):
            build(name, **changed).load_state_dict(build(name).state_dict())
    with pytest.raises(ValueError, match='method=coop, but this model has tcp'):
        build('tcp').load_state_dict(build('end').state_dict())
    with pytest.raises(ValueError, match="class 2 is 'sparrow' in the checkpoint, but 'owl' in this model"):
        build('own', class_names=('cat', 'dog', 'owl')).load_state_dict(build('own').state_dict())
    # What a context starts from does not matter once it is learned.
    build('end').load_state_dict(build('end', context_init='one two three').state_dict())


@pytest.mark.parametrize('name', ANY_CLASSES)
def test_other_classes_are_predicted_by_their_names_for_a_while(build, name):
    model = build(name).eval()
    own, expected = model(PICTURES), build(name, class_names=OTHER_NAMES).eval()(PICTURES)
    (texts,) = model.encode_classes([(OTHER_NAMES, ('a photo of a {}.',))])
    with pytest.raises(RuntimeError), model.with_classes(texts, OTHER_NAMES):
        assert torch.equal(model(PICTURES), expected) and expected.shape == (6, 2)
        raise RuntimeError
    assert torch.equal(model(PICTURES), own)
    model.set_classes(OTHER_NAMES)
    assert torch.equal(model(PICTURES), expected)


@pytest.mark.parametrize('name', sorted(set(METHODS) - set(ANY_CLASSES)))
def test_contexts_of_each_class_serve_no_others(build, name):
    model = build(name).eval()
    (texts,) = model.encode_classes([(OTHER_NAMES, ('a photo of a {}.',))])
    with pytest.raises(ValueError, match='predicts the classes that it was trained on.*2 were given'):
        with model.with_classes(texts, OTHER_NAMES):
            pass
    with pytest.raises(ValueError, match='the new list has 2 classes .*but the trained CoOpClassifier has 3'):
        model.set_classes(OTHER_NAMES)


@every_method
def test_some_of_the_classes_are_predicted_alone_for_a_while(build, name):
    model = build(name).eval()
    whole = model(PICTURES)
    for labels in ([2, 0], [1, 2], [0]):
        with model.with_class_subset(labels):
            torch.testing.assert_close(model(PICTURES), whole[:, labels], rtol=1e-5, atol=1e-5)
    assert torch.equal(model(PICTURES), whole)


@every_method
def test_nothing_of_the_text_tower_is_run_for_a_prediction_unless_something_changed(build, name, monkeypatch):
    model = build(name).eval()
    first = model(PICTURES)

    def refuse(*_, **__):
        raise AssertionError('the text tower was run')

    with monkeypatch.context() as patch:
        patch.setattr(type(model.text_tower), 'forward', refuse)
        patch.setattr(type(model.text_tower), 'embed', refuse)
        assert torch.equal(model(PICTURES), first)
        with RecordOperators() as kept:
            samples_ = model(PICTURES, mode='predict')
        assert torch.equal(torch.stack([sample.tuned_logits for sample in samples_]), first)
        with torch.no_grad():
            model.context += 0.1
        with pytest.raises(AssertionError, match='was run'):
            model(PICTURES)
    with RecordOperators() as changed:
        assert not torch.equal(model(PICTURES), first)
    assert 'embedding' in changed.names and 'embedding' not in kept.names


@every_method
def test_frozen_features_of_views_give_the_same_losses_and_gradients(build, name):
    model = build(name).train()
    views = [PICTURES, PICTURES.flip(-1)]
    frozen = model.frozen_features(torch.cat(views))
    assert not any(part is not None and part.requires_grad for part in frozen)
    torch.testing.assert_close(gradients(model, frozen), gradients(model, views))
    both = (total(model, [views[0]]) + total(model, [views[1]])) / 2
    torch.testing.assert_close(total(model, views), both)


@pytest.mark.parametrize('name', ['end', 'own', 'tcp'])
def test_a_view_bank_keeps_all_that_a_step_needs_of_pictures(build, name, monkeypatch):
    model, views = build(name).train(), [PICTURES, PICTURES.flip(-1)]
    expected = gradients(model, views)
    bank = ViewBank(BankLayout(model.frozen_features(PICTURES[:1]), torch.ones(6, 2, dtype=torch.bool)))
    bank.write(0, model.frozen_features(torch.stack(views, 1).flatten(0, 1)))
    monkeypatch.setattr(type(model.backbone), 'forward', None)
    kept = bank.read(torch.arange(6), torch.tensor([[0, 1]]).expand(6, 2), 'cpu')
    torch.testing.assert_close(gradients(model, kept), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', ['end', 'own middle', 'tcp'])
def test_classes_in_chunks_change_neither_losses_nor_gradients(build, name):
    names = [f'animal {number}' for number in range(7)]
    whole, chunks = build(name, class_names=names), build(name, class_names=names, chunk_size=3)
    torch.testing.assert_close(total(chunks), total(whole))
    torch.testing.assert_close(gradients(chunks), gradients(whole), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match='chunk_size must be 1 or more'):
        build(name, chunk_size=0)


@every_method
def test_a_training_step_never_waits_for_the_device(build, name):
    model = build(name).train()
    optimizer = OptimWrapper(torch.optim.SGD(trained(model).values(), lr=0.1, momentum=0.9))
    generator = torch.Generator().manual_seed(0)
    data = dict(inputs=[torch.randint(0, 256, (6, 3, 16, 16), generator=generator, dtype=torch.uint8)], data_samples=samples())
    model.train_step(data, optimizer)
    with RecordOperators() as operators:
        model.train_step(data, optimizer)
    assert len(operators.names) > 200 and not set(WAITING) & set(operators.names)


def test_zero_shot_logits_have_a_say_only_if_the_head_says_so(build):
    alone, fused = build('end').eval(), build('end', head=dict(alpha=0.25)).eval()
    (features,) = alone.extract_feat(PICTURES)
    zero_shot = 20 * features @ F.normalize(alone.text_prototypes, dim=-1).T
    torch.testing.assert_close(fused(PICTURES), 0.25 * alone(PICTURES) + 0.75 * zero_shot, rtol=1e-4, atol=1e-4)
    predicted = alone(PICTURES, mode='predict')
    torch.testing.assert_close(torch.stack([sample.zero_shot_logits for sample in predicted]), zero_shot)
    assert set(alone([PICTURES], samples(), mode='loss')) == {'loss_ce', 'acc_tuned'}
    assert {'loss_ce', 'acc_fused', 'acc_tuned', 'acc_zero_shot'} == set(fused([PICTURES], samples(), mode='loss'))


def test_metrics_of_layers_do_not_apply(build):
    model = build('end', test_features=TestFeatures(local=True)).eval()
    with pytest.raises(ValueError, match='CoOpClassifier tunes no copy of a layer'):
        model(PICTURES, mode='predict')


def test_names_that_do_not_fit_are_named(build):
    with pytest.raises(ValueError, match="of class 'very very .* is 88 tokens long .* this CLIP holds 77"):
        build('end', class_names=['cat', 'very ' * 80 + 'long'])  # which the words of the prototypes exceed already
    with pytest.raises(ValueError, match="of class 'very very .* is 78 tokens long .* this CLIP holds 77"):
        build('end', class_names=['cat', 'very ' * 71 + 'long'], templates=['{}'])  # the vectors take four more


def test_words_that_the_embedded_model_does_not_know_are_refused():
    with pytest.raises(ValueError, match="no meaning for .*'pet'"):
        CoOpClassifier('mps-mini', 'embedded', prompt_template='{}, a type of pet.', class_names=('three', 'four'))
    model = CoOpClassifier('mps-mini', 'embedded', num_context=4, context_init='a photo of a', class_names=('three', 'four'))
    assert model.token_ids.shape == (2, 24)
