# Weights, gradients and optimizer state dealt out to the processes; see docs/scaling.md. Add it to the bases of a
# config, or switch it on with --cfg-options model_wrapper_cfg.type=ShardedDataParallel. One process alone keeps
# everything.
model_wrapper_cfg = dict(type='ShardedDataParallel')
