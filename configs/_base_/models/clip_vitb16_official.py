# Recipe "official": what the released code computes, to the digit. It differs from the paper in three places.
_base_ = './clip_vitb16.py'

model = dict(
    gram_loss=dict(loss_weight=2.0),  # 2 for ImageNet, Food101, SUN397 and OxfordPets, else 0.5
    sculpt_loss=dict(
        # One layer more, at half the weight and twice the temperature.
        layer_weights=(1.0, 1.0, 0.5),
        temperature_factors=(1.0, 1.0, 2.0),
        # Texts keep their own norm, which is about 8 to 10.
        normalize_text=False,
    ),
    normalize_templates=False,
)
