# The same as the released code trains it: 200 epochs, the first at 1e-5; alignment weighted by 0.5; temperatures
# from 0.5 to 0.07, twice that for the deepest sculpted layer.
#
#   python tools/train.py configs/mps_vitb16_16shot_eurosat_official.py --cfg-options data_root=/data
#   python tools/fewshot_benchmark.py --datasets EuroSAT --recipes official --cfg-options data_root=/data
#
# Not measured by this project.
_base_ = [
    './_base_/models/clip_vitb16_official.py',
    './_base_/datasets/eurosat.py',
    './_base_/schedules/official_200e.py',
    './default_runtime.py',
]

model = dict(gram_loss=dict(loss_weight=0.5), sculpt_loss=dict(temperature=dict(start=0.5, end=0.07)))
# The last batch of an epoch is left out if it is not full, unless it is the only one.
train_dataloader = dict(drop_last=True)
