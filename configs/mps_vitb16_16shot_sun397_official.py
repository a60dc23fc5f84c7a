# The same as the released code trains it: 50 epochs, the first at 1e-5; alignment weighted by 2; temperatures
# from 0.1 to 0.05, twice that for the deepest sculpted layer.
#
#   python tools/train.py configs/mps_vitb16_16shot_sun397_official.py --cfg-options data_root=/data
#   python tools/fewshot_benchmark.py --datasets SUN397 --recipes official --cfg-options data_root=/data
#
# Not measured by this project.
_base_ = [
    './_base_/models/clip_vitb16_official.py',
    './_base_/datasets/sun397.py',
    './_base_/schedules/official_50e.py',
    './default_runtime.py',
]
# The last batch of an epoch is left out if it is not full, unless it is the only one.
train_dataloader = dict(drop_last=True)
