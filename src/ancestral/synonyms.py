"""What other programs call an option or a setting, and what does it here: for the command line, files and Python."""

from collections.abc import Iterable

from ancestral.migrations import NO_CHOICES
from ancestral.names import nearest

TABLE = f"""
training.lr <- lr learning-rate base-lr learn-rate initial-lr alpha
training.batch_size | compute.chunk | num-images <- batch batch-size bs b train-batch-size
compute.chunk <- eval-batch-size sample-batch-size chunk-size
training.steps | steps <- iterations iters max-steps num-steps train-steps max-iter max-iters num-train-steps
    max-train-steps total-steps n-iter train-num-steps training-steps
images are counted here, not epochs: --training.images N, where N is epochs times the number of images <- epochs
    num-epochs n-epochs max-epochs num-train-epochs epoch nepochs
size | data.size | the size of an image is that of the network <- resolution image-size img-size imsize size res
    imagesize img-dim crop-size height width
out <- output out-dir outdir output-dir save-dir savedir o out-path output-path results-dir result-dir logdir log-dir
    results-folder name run-name run-dir experiment save-path outfile destination dest
guidance | sampling.guidance <- cfg cfg-scale guidance-scale guidance-strength guidance-weight classifier-scale w
    cond-scale scale
guidance_by | sampling.guidance_by <- guidance-type guidance-method
negative | sampling.negative <- negative-class negative-label negative-prompt negative-prompts
steps | sampling.steps | calls <- num-inference-steps inference-steps sampling-steps timestep-respacing ddim-steps nfe
    sample-steps num-sampling-steps diffusion-steps
num-images | images | points | training.images <- n num num-samples samples count number n-samples num-sample num-imgs
    num-image images num-images-per-prompt batch-count amount total num-images number-of-images n-images
classes | data.labels <- labels label class class-labels y classes class-label class-name class-id
data.labels | classes <- class-cond conditional cond unconditional num-classes class-conditional
prompt | text.name | a prompt is given to `ancestral sample` and `ancestral edit` <- prompt text prompts
prompts | a prompt is given to `ancestral sample` and `ancestral edit` <- prompt-file prompts-file from-file prompt-list
data.captions | prompt | a prompt is given to `ancestral sample` and `ancestral edit` <- caption captions
    caption-column caption-ext caption-extension
data.where <- filter subset query select
text.folder <- text-encoder text-encoder-path clip clip-model clip-version t5
text.length <- max-length model-max-length max-tokens context-length token-length
text.vocab_size <- vocab vocabulary vocab-size vocabulary-size
training.ema_snapshots <- post-hoc-ema power-ema karras-ema ema-profiles
training.ema_decay <- ema-decay ema-rate ema-beta ema-halflife
images are always generated with the averaged weights; --training.ema_decay says how long the average is <- ema use-ema
    no-ema
compute.precision <- fp16 half bf16 mixed-precision amp precision dtype fp32 bfloat16 float16 use-fp16 autocast tf32
    torch-dtype
{NO_CHOICES["memory"]} <- compute.memory memory memory-format channels-last channels-first
{NO_CHOICES["guidance"]} <- compute.guidance
the folder of a run or a pipeline is the first word, without an option <- checkpoint ckpt model weights model-path
    ckpt-path load model-id pretrained checkpoint-path
the same command goes on where it stopped <- resume resume-from-checkpoint continue resume-from restart auto-resume
    resume-path
device <- gpu gpus cuda cpu use-cuda gpu-id device-id use-gpu accelerator no-cuda
processes are started by torchrun --nproc-per-node N -m ancestral train ... <- num-gpus nproc nproc-per-node
    num-processes world-size distributed ddp multi-gpu nodes
engine | compute.engine <- backend runtime provider execution-provider inference-engine onnx openvino onnxruntime ort
compute.threads <- workers num-workers threads num-threads dataloader-num-workers j jobs cores
a preset or the folder of the images is the first word, without an option <- data dataset data-dir data-path dataroot
    train-data-dir dataset-name input folder image-dir data-root path source root image-folder preset target
compute.micro_batch <- gradient-accumulation-steps accumulate accum grad-accum microbatch micro-batch
    gradient-accumulate-every gradient-checkpointing accumulation
training.clip_norm <- grad-clip clip-grad max-grad-norm gradient-clip gradient-clip-val grad-norm clip-gradients
training.warmup_images <- warmup warmup-steps lr-warmup-steps warm-up lr-warmup warmup-iters
training.lr_schedule <- lr-scheduler lr-decay lr-policy anneal lr-anneal-steps
sampler | sampling.sampler <- scheduler sampling-method method solver sample-method sampler-name
training.optimizer <- opt optim
training.weight_decay <- wd decay
diffusion.schedule.num_timesteps | steps <- timesteps num-timesteps noise-steps t num-diffusion-timesteps
    num-train-timesteps
diffusion.schedule.name | schedules <- noise-schedule schedule beta-schedule noise-scheduler schedule-name
diffusion.schedule.beta_start <- beta-min beta-1
diffusion.schedule.beta_end <- beta-max beta-t
diffusion.schedule.zero_terminal_snr <- zero-snr zero-terminal rescale-betas-zero-snr
network.widths <- base-channels model-channels dim channels num-channels ch-mult channel-mult channel-mults dim-mults ch
    nf block-out-channels base-dim hidden-size unet-dim
network.layers <- num-res-blocks layers-per-block num-layers depth res-blocks
network.attention <- attention-resolutions attn attn-resolutions use-attention attention-levels
network.heads <- heads num-heads n-heads num-attention-heads
network.head_width <- num-head-channels attention-head-dim head-dim
diffusion.prediction <- objective pred-type prediction-type parameterization predict pred-objective
diffusion.variance | variance <- learn-sigma sigma-type variance-type
data.flip <- horizontal-flip random-flip hflip mirror random-horizontal-flip
data.color <- grayscale greyscale gray grey rgb colors colour mode
data.color | channels follow from data.color <- in-channels image-channels out-channels num-image-channels
data.fit <- center-crop crop resize centre-crop random-crop
data.validation <- val-split validation-split val-fraction val valid val-size
data.test <- test-split test-fraction test-size
training.augment <- augment augmentation augment-p augment-prob ada color-jitter random-rotation random-affine
training.label_dropout <- cond-drop-prob p-uncond uncond-prob cond-dropout drop-prob cfg-dropout class-dropout
training.checkpoint_every_steps <- save-every save-interval checkpoint-every checkpointing-steps save-freq save-steps
    save-model-epochs save-every-steps checkpoint-interval
training.keep_checkpoints <- checkpoints-total-limit keep-last save-total-limit
training.log_every_steps <- log-every log-interval logging-steps log-freq print-freq
training.sample_every_steps <- sample-every sample-interval save-and-sample-every save-images-epochs sample-freq
training.validate_every_steps <- eval-every validate-every eval-interval eval-steps val-interval
training.minutes | minutes <- time max-time duration hours budget train-time max-minutes
training.loss <- loss-type criterion
training.min_snr_gamma <- min-snr gamma snr-gamma
seed <- random-seed manual-seed s generator rng-seed rng
seeds | --seed A --num-images N generates the seeds from A on, one for each image <- seed-range seeds
noise | grain <- noise-level noise-sigma sigma
film <- gif animation video movie mp4 save-gif webp save-film
each <- save-images save-all individual separate
overwrite <- force f
tensorboard <- wandb logger report-to tracker tb use-wandb
evaluate measures all it knows: Fréchet and kernel distances, recall, precision, agreement <- fid is kid metric metrics
    inception-score
inception <- fid-weights inception-path inception-weights
bits per dimension are measured by ancestral likelihood <- nll bpd bits-per-dim bits elbo
bars are drawn on a terminal only; --json keeps all but the result from stdout <- verbose v quiet q silent progress
    no-progress progress-bar
config <- config-file cfg-file yaml settings conf
dry-run <- dry test-run simulate
image files are words after the folder of the run, without an option <- init-image init-img image img
"""
"""What is meant, options in the order of preference or a sentence why there is none <- the words for it, with dashes
and without those at its beginning."""
ENTRIES = [line.split(" <- ") for line in TABLE.strip().replace("\n    ", " ").splitlines()]
MEANT = {word: target.split(" | ") for target, words in ENTRIES for word in words.split()}
"""Word -> what is meant; the first option that a verb has counts."""


def answer(word: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """What follows "unknown option WORD": the one of `names` that does it, why there is none, or nothing.

    `names` are options with their dashes, dotted names of settings, or those within one branch, without dots.
    """
    known = {dashed(name): name for name in names}
    plain = dashed(word)
    last = _last(plain)
    in_a_branch = not any("." in name for name in known)
    for target in MEANT.get(plain) or MEANT.get(last) or ():
        if " " in target:
            return f"; {target}"
        if name := known.get(_last(dashed(target)) if in_a_branch else dashed(target)):
            return f"; did you mean {name}?"
    # --training.clip_norm for --clip-norm: a setting whose last part it is
    same_ending = next((name for known_as, name in known.items() if "." in known_as and _last(known_as) == last), None)
    near = same_ending or nearest(word, known.values(), cutoff)
    return f"; did you mean {near}?" if near else ""


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def dashed(name: str) -> str:
    """Without dashes at its beginning, with dashes in place of _, in lower case."""
    return name.lstrip("-").replace("_", "-").lower()
