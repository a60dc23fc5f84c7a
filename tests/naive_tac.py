"""TAC without any short cut, on open_clip's own modules: records a file of the same kind as the released trainer's."""

import numpy as np
import open_clip
import torch
import torch.nn.functional as F

CLUSTERS = 5


def record(path, seed=0, size=(24, 12), vision=(40, 3, 5), text=(32, 2, 2), embed=32, classes=6, batch=2, views=3, n=7, epochs=3):
    """Write a file of recorded numbers.

    Args:
        path (Path): The file.
        size (tuple): Pixels of a side and of a patch.
        vision (tuple): Width, blocks, heads.
        text (tuple): The same of the text tower; its width is ``embed``, as the released map needs it.
        n (int): Learned vectors of a block.
        epochs (int): Of the average; each has one step.
    """
    torch.manual_seed(seed)
    clip = open_clip.CLIP(
        embed,
        quick_gelu=True,
        vision_cfg=dict(
            image_size=size[0], patch_size=size[1], width=vision[0], layers=vision[1], head_width=vision[0] // vision[2]
        ),
        text_cfg=dict(context_length=77, vocab_size=30, width=text[0], layers=text[1], heads=text[2]),
    ).eval()
    with torch.no_grad():
        for parameter in clip.parameters():
            if parameter.ndim:
                parameter += 0.1 * torch.randn_like(parameter)
    made = _Inputs(clip, size[0], classes, batch, views, n, epochs)
    arrays = {
        **{f'clip.{name}': value for name, value in clip.state_dict().items() if name != 'attn_mask'},
        **{f'in.{name}': value for name, value in made.inputs.items()},
        **{f'param.{name}': value for name, value in made.parameters.items()},
    }
    run = _Run(clip, made)
    arrays.update({f'out.{name}': value for name, value in run.outputs().items()})
    for suffix, step in (('', 0), ('.nodropout', None)):
        arrays.update(run.training(suffix, step))
    arrays.update(run.trajectory())
    arrays.update(run.average(epochs))
    np.savez(path, **{name: value.detach().numpy() for name, value in arrays.items()})


class _Inputs:
    def __init__(self, clip, size, classes, batch, views, n, steps):
        end, width = 29, clip.token_embedding.weight.shape[1]
        lengths = [6 + label % 3 for label in range(classes)]
        token_ids = torch.zeros(classes, 77, dtype=torch.int64)
        for row, length in zip(token_ids, lengths):
            row[:length] = torch.randint(1, 28, (length,))
            row[:4], row[length] = torch.tensor([28, 1, 2, 3]), end
        self.labels = torch.randint(0, classes, (batch,))
        self.sentence_labels = torch.arange(2 * classes) % classes  # those of a class are not side by side
        sentences = torch.zeros(2 * classes, 77, dtype=torch.int64)
        sentences[:, :9] = torch.randint(1, 28, (2 * classes, 9))
        sentences[:, 9] = end
        starts = torch.randperm(classes)[:CLUSTERS]
        self.inputs = dict(
            token_ids=token_ids,
            ctx_token_ids=token_ids[0],
            images=torch.randn(views, batch, 3, size, size),
            images_original=torch.randn(batch, 3, size, size),
            labels=self.labels,
            description_token_ids=sentences,
            description_class=self.sentence_labels,
            **{
                'dropout_keep.image': (torch.rand(steps, views * batch, clip.text_projection.shape[1]) > 0.3).float(),
                'dropout_keep.zero_shot': (torch.rand(steps, batch, clip.text_projection.shape[1]) > 0.3).float(),
            },
        )
        self.starts = starts
        text_blocks, vision_blocks = clip.transformer.resblocks, clip.visual.transformer.resblocks
        vision_width, embed = clip.visual.proj.shape
        sizes = {
            'prompt_learner.ctx': (n, width),
            'image_encoder.VPT': (n, vision_width),
            'VPT_topk_t.weight': (width, embed),
            'VPT_topk_t.bias': (width,),
            'VPT_topk_v.weight': (vision_width, embed),
            'VPT_topk_v.bias': (vision_width,),
        }
        for tower, blocks, columns in (('text', text_blocks, width), ('image', vision_blocks, vision_width)):
            sizes.update(
                {f'{tower}_encoder.transformer.resblocks.{index}.VPT_shallow': (n, columns) for index in range(1, len(blocks))}
            )
        self.parameters = {name: (0.3 * torch.randn(shape)).requires_grad_() for name, shape in sizes.items()}


class _Run:
    def __init__(self, clip, made):
        self.clip, self.made, self.n = clip, made, len(made.parameters['prompt_learner.ctx'])
        with torch.no_grad():
            features = clip.encode_text(made.inputs['description_token_ids'])
            sums = [features[made.sentence_labels == label].sum(0) for label in range(len(made.inputs['token_ids']))]
        self.fixed = F.normalize(torch.stack(sums), dim=-1)
        self.centers = self._cluster()

    def _cluster(self):
        centers = [self.fixed[row].clone() for row in self.made.starts]
        while True:
            assignment = [
                max(range(CLUSTERS), key=lambda k: float(F.cosine_similarity(point, centers[k], dim=0))) for point in self.fixed
            ]
            members = [[p for p, a in zip(self.fixed, assignment) if a == k] for k in range(CLUSTERS)]
            new = [torch.stack(points).mean(0) if points else center for points, center in zip(members, centers)]
            moved = sum(float((a - b).norm()) for a, b in zip(new, centers))
            centers = new
            if moved**2 < 1e-4:
                self.assignment, self.raw = torch.tensor(assignment), torch.stack(centers)
                return F.normalize(self.raw, dim=-1)

    def _mapped(self, letter, parameters):
        return self.centers @ parameters[f'VPT_topk_{letter}.weight'].T + parameters[f'VPT_topk_{letter}.bias']

    def texts(self):
        clip, parameters, token_ids = self.clip, self.made.parameters, self.made.inputs['token_ids']
        plain, mapped = clip.token_embedding(token_ids), self._mapped('t', parameters)
        rows = []
        for row, ids in zip(plain, token_ids):
            tokens = torch.cat([row[:1], mapped, parameters['prompt_learner.ctx'], row[1 : 77 - CLUSTERS - self.n]])
            tokens = (tokens + clip.positional_embedding)[None]
            for index, block in enumerate(clip.transformer.resblocks):
                if index:
                    deep = parameters[f'text_encoder.transformer.resblocks.{index}.VPT_shallow']
                    tokens = torch.cat([tokens[:, :1], mapped[None], deep[None], tokens[:, 1 + CLUSTERS + self.n :]], 1)
                tokens = block(tokens, attn_mask=clip.attn_mask)
            rows.append(clip.ln_final(tokens)[0, int(ids.argmax()) + CLUSTERS + self.n] @ clip.text_projection)
        return F.normalize(torch.stack(rows), dim=-1)

    def picture(self, image, prompted):
        visual, parameters = self.clip.visual, self.made.parameters
        if not prompted:
            with torch.no_grad():
                return visual(image[None])[0]
        patches = visual.conv1(image[None]).flatten(2).transpose(1, 2)
        tokens = torch.cat([visual.class_embedding[None, None], patches], 1) + visual.positional_embedding
        mapped = self._mapped('v', parameters)
        tokens = visual.ln_pre(torch.cat([tokens, mapped[None], parameters['image_encoder.VPT'][None]], 1))
        first, length = 1 + patches.shape[1], tokens.shape[1]
        mask = torch.zeros(length, length)
        for row in range(1, first):
            mask[row, first : first + CLUSTERS] = float('-inf')
        for index, block in enumerate(visual.transformer.resblocks):
            if index:
                deep = parameters[f'image_encoder.transformer.resblocks.{index}.VPT_shallow']
                tokens = torch.cat([tokens[:, :first], mapped[None], deep[None]], 1)
            tokens = block(tokens, attn_mask=mask)
        return visual.ln_post(tokens[0, 0]) @ visual.proj

    def losses(self, step):
        """Return the terms and what they are made of; ``step`` says which masks are applied, None for none."""
        inputs, texts = self.made.inputs, self.texts()
        pictures = torch.stack([self.picture(image, True) for view in inputs['images'] for image in view])
        frozen = torch.stack([self.picture(image, False) for image in inputs['images_original']])
        if step is not None:
            pictures = pictures * inputs['dropout_keep.image'][step] / 0.7
            frozen = frozen * inputs['dropout_keep.zero_shot'][step] / 0.7
        pictures, frozen = F.normalize(pictures, dim=-1), F.normalize(frozen, dim=-1)
        frozen = torch.cat([frozen] * len(inputs['images']))
        logits = self.clip.logit_scale.exp().detach() * pictures @ texts.T
        labels = torch.cat([self.made.labels] * len(inputs['images']))
        terms = dict(
            ce=F.cross_entropy(logits, labels),
            text=20 * (texts - self.fixed).abs().mean(),
            image=25 * (pictures - frozen).abs().mean(),
        )
        return dict(terms, total=sum(terms.values())), dict(
            image_features_train=pictures, zero_shot_features_train=frozen, logits_train=logits
        )

    @torch.no_grad()
    def outputs(self):
        parameters, pictures = self.made.parameters, self.made.inputs['images_original']
        features = F.normalize(torch.stack([self.picture(image, True) for image in pictures]), dim=-1)
        texts = self.texts()
        return dict(
            fixed_text=self.fixed,
            cluster_centers=self.centers,
            topk_text=self._mapped('t', parameters),
            topk_vision=self._mapped('v', parameters),
            text_features=texts,
            image_features_test=features,
            logits_test=self.clip.logit_scale.exp() * features @ texts.T,
        )

    def training(self, suffix, step):
        terms, outputs = self.losses(step)
        parameters = self.made.parameters
        gradients = torch.autograd.grad(terms['total'], list(parameters.values()))
        words = self.clip.token_embedding(self.made.inputs['ctx_token_ids'])[1 : 1 + self.n]
        return {
            'kmeans.init_index': self.made.starts,
            'kmeans.assignment': self.assignment,
            'kmeans.centers_raw': self.raw,
            'init.ctx': words,
            **{f'loss.{name}{suffix}': value for name, value in terms.items()},
            **{f'out.{name}{suffix}': value for name, value in outputs.items()},
            **{f'grad{suffix}.{name}': value for name, value in zip(parameters, gradients)},
        }

    def _train(self, rates):
        """Take steps, and return the losses before them and the tensors after each; the tensors come back at the end."""
        parameters, totals, after = self.made.parameters, [], []
        start = {name: value.detach().clone() for name, value in parameters.items()}
        optimizer = torch.optim.SGD(parameters.values(), lr=1.0, momentum=0.9, weight_decay=5e-4)
        for step, rate in enumerate(rates):
            optimizer.param_groups[0]['lr'] = rate
            totals.append(self.losses(step)[0]['total'])
            optimizer.zero_grad()
            totals[-1].backward()
            optimizer.step()
            after.append({name: value.detach().clone() for name, value in parameters.items()})
        self._put(start)
        return torch.stack(totals), after

    def _put(self, tensors):
        with torch.no_grad():
            for name, value in tensors.items():
                self.made.parameters[name].copy_(value)

    def trajectory(self, steps=2):
        totals, after = self._train([0.0025] * steps)
        return {'traj.total': totals, **{f'traj.after{steps}.{name}': value for name, value in after[-1].items()}}

    def average(self, epochs):
        rates = [1e-5, *(0.0025 * (1 + np.cos(np.pi * (epoch - 1) / epochs)) / 2 for epoch in range(1, epochs))]
        start = {name: value.detach().clone() for name, value in self.made.parameters.items()}
        totals, after = self._train(rates)
        mean = {name: torch.stack([tensors[name] for tensors in after]).mean(0) for name in start}
        self._put(mean)
        logits = self.outputs()['logits_test']
        self._put(start)
        return {
            'avg.lr': torch.tensor(rates),
            'avg.total': totals,
            'out.logits_test.averaged': logits,
            **{f'avg.{name}': value for name, value in mean.items()},
        }
