# MPS-Tuning of the embedded mini CLIP on scikit-learn's handwritten digits, 16 pictures per class.
#
#   python tools/train.py configs/mps_mini_16shot_digits.py
#   python tools/test.py configs/mps_mini_16shot_digits.py work_dirs/mps_mini_16shot_digits/epoch_50.pth
#
# Expected on the 899 held-out digits: results/mini_digits/results.md (about a minute per run on 2 cores).
_base_ = ['./_base_/datasets/digits.py', './_base_/mps_mini.py']

# Other pictures of the same ten classes, tested after the held-out digits. MNIST needs the extra "targets".
test_cfg = dict(type='DomainGeneralizationLoop', targets={{_base_.targets}})
