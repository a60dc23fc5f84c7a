"""Pictures compared with texts of classes: which texts, how, and where a plain CLIP does the same."""

import torch
import torch.nn.functional as F
from torch import nn


class TextComparison(nn.Module):
    """The part of :class:`CLIPClassifier` that makes logits of features."""

    def class_features(self) -> torch.Tensor:
        """Return the unit-norm texts ``(C, D)`` that pictures are compared with: the prototypes of the frozen model."""
        return self.unit_prototypes()

    def cached_class_features(self) -> torch.Tensor:
        """Return :meth:`class_features` for predictions, computed again only if something has changed since.

        Returns:
            Tensor: ``(C, D)``, without gradient.
        """
        # A step of an optimizer counts the version up, a loaded or swapped tensor is another one. Buffers are what is made
        # of the classes, and state that training writes without a gradient.
        sources = [*(p for p in self.parameters() if p.requires_grad), *self.buffers()]
        autocast = torch.is_autocast_enabled(self.text_prototypes.device.type)
        state = (autocast, *((tensor.data_ptr(), tensor._version, tensor.shape) for tensor in sources))
        if self._cached_class_features is None or self._cached_class_features[0] != state:
            with torch.no_grad():
                # With the sources, so that no other tensor can take their place in memory and be taken for them.
                self._cached_class_features = state, self.class_features(), [tensor.detach() for tensor in sources]
        return self._cached_class_features[1]

    def unit_prototypes(self) -> torch.Tensor:
        """Return the class prototypes of the frozen model ``(C, D)``, of unit norm."""
        return F.normalize(self.text_prototypes, dim=-1)

    def cosine_logits(self, features: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Return scaled cosines in float32, also under autocast.

        Args:
            features (Tensor): Unit-norm features ``(..., D)``.
            texts (Tensor): Unit-norm texts ``(C, D)``.

        Returns:
            Tensor: ``(..., C)``.
        """
        with torch.autocast(features.device.type, enabled=False):
            return self.logit_scale * features.float() @ texts.float().mT

    # As a plain CLIP.

    def plain_tower(self) -> dict[str, torch.Tensor]:
        """Return the weights of a plain vision tower of open_clip that computes the features of the tuned branch.

        Returns:
            dict[str, Tensor]: By their names in the tower. Here the frozen ones.

        Raises:
            ValueError: If no such tower does; says what the method computes besides.
        """
        return self.backbone.zero_shot.state_dict()

    def plain_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weight ``(C, D)`` and the bias ``(C,)`` that make tuned logits of unit-norm features.

        Raises:
            ValueError: If no linear layer does; says what the method computes.
        """
        texts = self.cached_class_features()
        return self.logit_scale * texts.float(), texts.new_zeros(len(texts), dtype=torch.float32)

    def plain_clip(self) -> dict[str, torch.Tensor]:
        """Return the state of a whole CLIP of open_clip: :meth:`plain_tower` beside the text tower; copies.

        Raises:
            ValueError: As :meth:`plain_tower`.
        """
        tower = {f'visual.{name}': value for name, value in self.plain_tower().items()}
        state = {**self._clip_of_texts().model.state_dict(), **tower}
        return {name: value.detach().cpu().clone() for name, value in state.items()}
