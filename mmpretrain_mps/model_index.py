"""The names by which mim and mmpretrain find the configs, outside a checkout too."""

from mmpretrain.apis import ModelHub

from .utils.places import PACKAGE_ROOT

# Configs, tools and the index of models, as OpenMMLab's packages carry them: links in a checkout, files once installed.
MIM = PACKAGE_ROOT / '.mim'


def register_models() -> None:
    """Let ``list_models`` and ``get_model`` know the configs.

    Weights that come with the package are given by absolute paths. Where a checkout has lost its links, nothing is registered.
    """
    if not (MIM / 'model-index.yml').is_file():
        return
    known = set(ModelHub._models_dict)
    ModelHub.register_model_index(MIM / 'model-index.yml', config_prefix=MIM)
    for name in set(ModelHub._models_dict) - known:
        model = ModelHub._models_dict[name]
        if model.weights:
            model.weights = str(PACKAGE_ROOT.parent / model.weights)
