# One look at the pictures, one fit. C is CLIP's published 0.316, brought to features of unit norm.
# A Runner that trains wants an optimizer; no step is ever taken.
optim_wrapper = dict(type='OptimWrapper', constructor='TrainableOptimWrapperConstructor', optimizer=dict(type='SGD', lr=0.002))

param_scheduler = None

train_cfg = dict(type='LinearProbeLoop', C=31.6)
val_cfg = dict()
test_cfg = dict()
