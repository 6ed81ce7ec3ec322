#include "tm_edit_pixels.h"
#include "tm_edit_math.h"

static float unary(tm_edit_unary function, float x, float alpha, float beta) {
  switch (function) {
    case TM_EDIT_EXP:
      return expf(x);
    case TM_EDIT_LOG:
      return logf(x);
    case TM_EDIT_SQRT:
      return sqrtf(x);
    case TM_EDIT_RECIPROCAL:
      return 1.0f / x;
    case TM_EDIT_ABS:
      return fabsf(x);
    case TM_EDIT_NEG:
      return -x;
    case TM_EDIT_SQUARE:
      return x * x;
    case TM_EDIT_CLIP:
      x = x < alpha ? alpha : x;
      return x > beta ? beta : x;
    case TM_EDIT_ELU:
      return x < 0.0f ? alpha * expm1f(x) : x;
    case TM_EDIT_GELU:
      return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case TM_EDIT_GELU_TANH:
      return 0.5f * x * (1.0f + tm_edit_tanh(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case TM_EDIT_SOFTPLUS:
      return (x > 0.0f ? x : 0.0f) + log1pf(expf(-fabsf(x)));
    case TM_EDIT_HARD_SIGMOID:
      x = alpha * x + beta;
      return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x;
    case TM_EDIT_HARD_SWISH: {
      float gate = x / 6.0f + 0.5f;
      return x * (gate < 0.0f ? 0.0f : gate > 1.0f ? 1.0f : gate);
    }
    case TM_EDIT_SWISH:
      return x * tm_edit_sigmoid(alpha * x);
  }
  return x;
}

static const float *pixel(const tm_edit_pixels *p, int32_t image, int32_t y, int32_t x) {
  return p->input + image * p->in_image + ((int64_t)y * p->in_width + x) * p->in_stride;
}

/* Sums of pixels times weights, means and greatest values over the places that are inside. */
static void reduce(const tm_edit_pixels *p, int32_t image, int32_t y, int32_t x, float *out) {
  const tm_edit_step *s = p->step;
  int32_t channels = p->shape.channels, inside = 0;
  const int32_t *down = p->rows->places + (int64_t)y * p->rows->taps;
  const int32_t *across = p->columns->places + (int64_t)x * p->columns->taps;
  float start = s->kind == TM_EDIT_STEP_MAX_POOL ? -INFINITY : 0.0f;
  for (int32_t c = 0; c < channels; ++c) {
    out[c] = start;
  }
  for (int32_t i = 0; i < p->rows->taps; ++i) {
    for (int32_t j = 0; j < p->columns->taps; ++j) {
      if (down[i] < 0 || across[j] < 0) {
        continue;
      }
      const float *in = pixel(p, image, down[i], across[j]);
      ++inside;
      if (s->kind == TM_EDIT_STEP_MAX_POOL) {
        for (int32_t c = 0; c < channels; ++c) {
          out[c] = in[c] > out[c] ? in[c] : out[c];
        }
      } else {
        float weight = s->kind == TM_EDIT_STEP_MIX
                           ? p->rows->weights[(int64_t)y * p->rows->taps + i] *
                                 p->columns->weights[(int64_t)x * p->columns->taps + j]
                           : 1.0f;
        for (int32_t c = 0; c < channels; ++c) {
          out[c] += weight * in[c];
        }
      }
    }
  }
  if (s->kind == TM_EDIT_STEP_MEAN_POOL) {
    float all = (float)(p->rows->taps * p->columns->taps);
    float count = s->block != 0 ? all : (float)inside; /* block: padding counts */
    for (int32_t c = 0; c < channels; ++c) {
      out[c] /= count;
    }
  }
}

/* Blocks of pixels out of channels (function 0: DCR, 1: CRD) or back (2, 3). */
static void shuffle(const tm_edit_pixels *p, int32_t image, int32_t y, int32_t x, float *out) {
  int32_t b = p->step->block, function = p->step->function;
  if (function < 2) {
    const float *in = pixel(p, image, y / b, x / b);
    int32_t at = y % b * b + x % b, depth = p->shape.channels;
    for (int32_t c = 0; c < depth; ++c) {
      out[c] = function == 0 ? in[at * depth + c] : in[c * b * b + at];
    }
    return;
  }
  int32_t depth = p->in_channels;
  for (int32_t at = 0; at < b * b; ++at) {
    const float *in = pixel(p, image, y * b + at / b, x * b + at % b);
    for (int32_t c = 0; c < depth; ++c) {
      out[function == 2 ? at * depth + c : c * b * b + at] = in[c];
    }
  }
}

/* Normalises a pixel along its channels; function 1: with mean 0. */
static void row_norm(const tm_edit_pixels *p, const float *in, float *out) {
  int32_t channels = p->shape.channels;
  double mean = 0.0, square = 0.0;
  for (int32_t c = 0; p->step->function == 0 && c < channels; ++c) {
    mean += in[c];
  }
  mean /= channels;
  for (int32_t c = 0; c < channels; ++c) {
    double centred = in[c] - mean;
    square += centred * centred;
  }
  float inverse = (float)(1.0 / sqrt(square / channels + (double)p->step->alpha));
  for (int32_t c = 0; c < channels; ++c) {
    float value = (in[c] - (float)mean) * inverse * p->scale[c];
    out[c] = p->shift == NULL ? value : value + p->shift[c];
  }
}

static void softmax(const tm_edit_pixels *p, const float *in, float *out) {
  int32_t channels = p->shape.channels;
  float most = in[0], sum = 0.0f;
  for (int32_t c = 1; c < channels; ++c) {
    most = in[c] > most ? in[c] : most;
  }
  for (int32_t c = 0; c < channels; ++c) {
    out[c] = expf(p->step->alpha * (in[c] - most));
    sum += out[c];
  }
  for (int32_t c = 0; c < channels; ++c) {
    out[c] /= sum;
  }
}

static void one_pixel(const tm_edit_pixels *p, int32_t image, int32_t y, int32_t x, float *out) {
  const tm_edit_step *s = p->step;
  switch (s->kind) {
    case TM_EDIT_STEP_UNARY: {
      const float *in = pixel(p, image, y, x);
      for (int32_t c = 0; c < p->shape.channels; ++c) {
        out[c] = unary((tm_edit_unary)s->function, in[c], s->alpha, s->beta);
      }
      return;
    }
    case TM_EDIT_STEP_TAKE: {
      int32_t row = p->rows->places[y], column = p->columns->places[x];
      const float *in = row < 0 || column < 0 ? NULL : pixel(p, image, row, column);
      for (int32_t c = 0; c < p->shape.channels; ++c) {
        out[c] = in == NULL ? s->alpha : in[c];
      }
      return;
    }
    case TM_EDIT_STEP_SHUFFLE:
      shuffle(p, image, y, x, out);
      return;
    case TM_EDIT_STEP_ROW_NORM:
      row_norm(p, pixel(p, image, y, x), out);
      return;
    case TM_EDIT_STEP_SOFTMAX:
      softmax(p, pixel(p, image, y, x), out);
      return;
    default:
      reduce(p, image, y, x, out);
  }
}

void tm_edit_pixels_tiles(const tm_edit_pixels *p, const tm_edit_tile *tiles, int32_t count,
                          int32_t side) {
#pragma omp parallel for schedule(static)
  for (int32_t t = 0; t < count; ++t) {
    int32_t bottom = tiles[t].y + side, right = tiles[t].x + side;
    bottom = bottom < p->shape.height ? bottom : p->shape.height;
    right = right < p->shape.width ? right : p->shape.width;
    for (int32_t y = tiles[t].y; y < bottom; ++y) {
      for (int32_t x = tiles[t].x; x < right; ++x) {
        int64_t at = ((int64_t)tiles[t].image * p->shape.height + y) * p->shape.width + x;
        one_pixel(p, tiles[t].image, y, x, p->output + at * p->out_stride);
      }
    }
  }
}
