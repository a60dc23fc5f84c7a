# Cross-data-set evaluation: trained on ImageNet, tested on the ten other data sets that are on disk, each with its own class
# names and templates.
#
#   python tools/train.py configs/mps_vitb16_16shot_imagenet.py --cfg-options data_root=/data
#   python tools/test.py configs/mps_vitb16_16shot_imagenet_crossdata.py \
#       work_dirs/mps_vitb16_16shot_imagenet/epoch_50.pth --cfg-options data_root=/data
_base_ = './mps_vitb16_16shot_imagenet.py'

task = 'transfer'

ten_targets = dict(
    caltech101=dict(type='CLIPCaltech101', data_root={{_base_.data_root}}, subset='test'),
    oxfordpets=dict(type='CLIPOxfordPets', data_root={{_base_.data_root}}, subset='test'),
    stanfordcars=dict(type='CLIPStanfordCars', data_root={{_base_.data_root}}, subset='test'),
    flowers102=dict(type='CLIPFlowers102', data_root={{_base_.data_root}}, subset='test'),
    food101=dict(type='CLIPFood101', data_root={{_base_.data_root}}, subset='test'),
    fgvcaircraft=dict(type='CLIPFGVCAircraft', data_root={{_base_.data_root}}, subset='test'),
    sun397=dict(type='CLIPSUN397', data_root={{_base_.data_root}}, subset='test'),
    dtd=dict(type='CLIPDTD', data_root={{_base_.data_root}}, subset='test'),
    eurosat=dict(type='CLIPEuroSAT', data_root={{_base_.data_root}}, subset='test'),
    ucf101=dict(type='CLIPUCF101', data_root={{_base_.data_root}}, subset='test'),
)
test_cfg = dict(_delete_=True, type='DomainGeneralizationLoop', targets=ten_targets)
del ten_targets
