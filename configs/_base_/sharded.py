# Weights, gradients and optimizer state dealt out to the processes; see docs/scaling.md. Add it to the bases of a
# config, or switch it on with --cfg-options model_wrapper_cfg.type=ShardedDataParallel. One process alone keeps
# everything. All weights must fit into a process's device once, when the model is made.
model_wrapper_cfg = dict(type='ShardedDataParallel')
