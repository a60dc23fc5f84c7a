# From base to new classes: trained and tested on the first half of FGVCAircraft's classes, then tested on the other half,
# which has its own labels and prototypes. Other methods: --method.
#
#   python tools/train.py configs/mps_vitb16_16shot_fgvc_aircraft_base2new.py --cfg-options data_root=/data
#   python tools/test.py configs/mps_vitb16_16shot_fgvc_aircraft_base2new.py CHECKPOINT --cfg-options data_root=/data
_base_ = './mps_vitb16_16shot_fgvc_aircraft.py'

task = 'base_to_new'
train_dataloader = dict(dataset=dict(dataset=dict(class_subset='base')))
val_dataloader = dict(dataset=dict(dataset=dict(class_subset='base')))
test_dataloader = dict(dataset=dict(class_subset='base'))
test_cfg = dict(
    type='DomainGeneralizationLoop',
    targets=dict(new=dict(type='CLIPFGVCAircraft', data_root={{_base_.data_root}}, subset='test', class_subset='new')),
)
