/* Vectors of floats for the kernels of sparse editing: one set of names over AVX-512, AVX2 with
   FMA, NEON, the vectors of gcc and clang, and single floats. */
#ifndef TM_EDIT_LANES_H
#define TM_EDIT_LANES_H

#include <stdint.h>
#include <string.h>

/* Which vectors there are. TM_EDIT_ONE_LANE asks for what a compiler without any gets. */
#if defined(TM_EDIT_ONE_LANE)
#define TM_SINGLE
#elif defined(__AVX512F__)
#define TM_AVX512
#include <immintrin.h>
#elif defined(__AVX2__) && defined(__FMA__)
#define TM_AVX2
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__ARM_NEON)
#define TM_NEON
#include <arm_neon.h>
#elif !defined(__GNUC__)
#define TM_SINGLE
#endif

/* TM_LANES floats a vector; a register block of products is TM_ROWS rows of TM_VECTORS vectors. */
#if defined(TM_AVX512)
#define TM_LANES 16
#define TM_ROWS 12
#define TM_VECTORS 2
#elif defined(TM_AVX2)
#define TM_LANES 8
#define TM_ROWS 6
#define TM_VECTORS 2
#elif defined(TM_NEON)
#define TM_LANES 4
#define TM_ROWS 6
#define TM_VECTORS 4
#elif defined(TM_SINGLE)
#define TM_LANES 1
#define TM_ROWS 4
#define TM_VECTORS 2
#else
#define TM_LANES 4
#define TM_ROWS 6
#define TM_VECTORS 2
#endif

/* Output channels of a register block. */
#define TM_COLUMNS (TM_LANES * TM_VECTORS)

#if defined(__GNUC__)
#define TM_INLINE static inline __attribute__((always_inline, unused))
/* Stores that miss the first-level cache wait for each other; lines asked for before do not. */
#define TM_PREFETCH_WRITE(address) __builtin_prefetch(address, 1)
#define TM_PREFETCH(address) __builtin_prefetch(address)
#else
#define TM_INLINE static inline
#define TM_PREFETCH_WRITE(address) ((void)(address))
#define TM_PREFETCH(address) ((void)(address))
#endif

#if defined(__clang__)
#define TM_UNROLL _Pragma("clang loop unroll(full)")
#define TM_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#elif defined(__GNUC__)
#define TM_UNROLL _Pragma("GCC unroll 40")
#define TM_UNROLL_4 _Pragma("GCC unroll 4")
#else
#define TM_UNROLL
#define TM_UNROLL_4
#endif

#if defined(TM_AVX512)

typedef __m512 tm_vec;

TM_INLINE tm_vec tm_set(float x) {
  return _mm512_set1_ps(x);
}
TM_INLINE tm_vec tm_load(const float *p) {
  return _mm512_loadu_ps(p);
}
TM_INLINE void tm_store(float *p, tm_vec x) {
  _mm512_storeu_ps(p, x);
}
TM_INLINE tm_vec tm_load_some(const float *p, int32_t count) {
  return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), p);
}
TM_INLINE void tm_store_some(float *p, int32_t count, tm_vec x) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1u), x);
}
/* a b + c */
TM_INLINE tm_vec tm_fma(tm_vec a, tm_vec b, tm_vec c) {
  return _mm512_fmadd_ps(a, b, c);
}
TM_INLINE tm_vec tm_add(tm_vec a, tm_vec b) {
  return _mm512_add_ps(a, b);
}
TM_INLINE tm_vec tm_sub(tm_vec a, tm_vec b) {
  return _mm512_sub_ps(a, b);
}
TM_INLINE tm_vec tm_mul(tm_vec a, tm_vec b) {
  return _mm512_mul_ps(a, b);
}
TM_INLINE tm_vec tm_div(tm_vec a, tm_vec b) {
  return _mm512_div_ps(a, b);
}
/* Of a NaN and a number, min and max give the second operand. */
TM_INLINE tm_vec tm_min(tm_vec a, tm_vec b) {
  return _mm512_min_ps(a, b);
}
TM_INLINE tm_vec tm_max(tm_vec a, tm_vec b) {
  return _mm512_max_ps(a, b);
}
/* a < b ? x : y */
TM_INLINE tm_vec tm_less(tm_vec a, tm_vec b, tm_vec x, tm_vec y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
TM_INLINE float tm_total(tm_vec x) {
  return _mm512_reduce_add_ps(x);
}
TM_INLINE float tm_largest(tm_vec x) {
  return _mm512_reduce_max_ps(x);
}

#elif defined(TM_AVX2)

typedef __m256 tm_vec;

TM_INLINE tm_vec tm_set(float x) {
  return _mm256_set1_ps(x);
}
TM_INLINE tm_vec tm_load(const float *p) {
  return _mm256_loadu_ps(p);
}
TM_INLINE void tm_store(float *p, tm_vec x) {
  _mm256_storeu_ps(p, x);
}
TM_INLINE __m256i tm_first(int32_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
TM_INLINE tm_vec tm_load_some(const float *p, int32_t count) {
  return _mm256_maskload_ps(p, tm_first(count));
}
TM_INLINE void tm_store_some(float *p, int32_t count, tm_vec x) {
  _mm256_maskstore_ps(p, tm_first(count), x);
}
TM_INLINE tm_vec tm_fma(tm_vec a, tm_vec b, tm_vec c) {
  return _mm256_fmadd_ps(a, b, c);
}
TM_INLINE tm_vec tm_add(tm_vec a, tm_vec b) {
  return _mm256_add_ps(a, b);
}
TM_INLINE tm_vec tm_sub(tm_vec a, tm_vec b) {
  return _mm256_sub_ps(a, b);
}
TM_INLINE tm_vec tm_mul(tm_vec a, tm_vec b) {
  return _mm256_mul_ps(a, b);
}
TM_INLINE tm_vec tm_div(tm_vec a, tm_vec b) {
  return _mm256_div_ps(a, b);
}
TM_INLINE tm_vec tm_min(tm_vec a, tm_vec b) {
  return _mm256_min_ps(a, b);
}
TM_INLINE tm_vec tm_max(tm_vec a, tm_vec b) {
  return _mm256_max_ps(a, b);
}
TM_INLINE tm_vec tm_less(tm_vec a, tm_vec b, tm_vec x, tm_vec y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

#elif defined(TM_NEON)

typedef float32x4_t tm_vec;

TM_INLINE tm_vec tm_set(float x) {
  return vdupq_n_f32(x);
}
TM_INLINE tm_vec tm_load(const float *p) {
  return vld1q_f32(p);
}
TM_INLINE void tm_store(float *p, tm_vec x) {
  vst1q_f32(p, x);
}
TM_INLINE tm_vec tm_fma(tm_vec a, tm_vec b, tm_vec c) {
  return vfmaq_f32(c, a, b);
}
TM_INLINE tm_vec tm_add(tm_vec a, tm_vec b) {
  return vaddq_f32(a, b);
}
TM_INLINE tm_vec tm_sub(tm_vec a, tm_vec b) {
  return vsubq_f32(a, b);
}
TM_INLINE tm_vec tm_mul(tm_vec a, tm_vec b) {
  return vmulq_f32(a, b);
}
TM_INLINE tm_vec tm_div(tm_vec a, tm_vec b) {
  return vdivq_f32(a, b);
}
TM_INLINE tm_vec tm_less(tm_vec a, tm_vec b, tm_vec x, tm_vec y) {
  return vbslq_f32(vcltq_f32(a, b), x, y);
}
TM_INLINE tm_vec tm_min(tm_vec a, tm_vec b) {
  return tm_less(a, b, a, b);
}
TM_INLINE tm_vec tm_max(tm_vec a, tm_vec b) {
  return tm_less(b, a, a, b);
}

#else

#if TM_LANES == 1
typedef float tm_vec;
#else
typedef float tm_vec __attribute__((vector_size(4 * TM_LANES)));
typedef int32_t tm_bits __attribute__((vector_size(4 * TM_LANES)));
#endif

TM_INLINE tm_vec tm_load(const float *p) {
  tm_vec x;
  memcpy(&x, p, sizeof x);
  return x;
}
TM_INLINE void tm_store(float *p, tm_vec x) {
  memcpy(p, &x, sizeof x);
}
TM_INLINE tm_vec tm_set(float x) {
#if TM_LANES == 1
  return x;
#else
  return (tm_vec){x, x, x, x};
#endif
}
TM_INLINE tm_vec tm_fma(tm_vec a, tm_vec b, tm_vec c) {
  return a * b + c;
}
TM_INLINE tm_vec tm_add(tm_vec a, tm_vec b) {
  return a + b;
}
TM_INLINE tm_vec tm_sub(tm_vec a, tm_vec b) {
  return a - b;
}
TM_INLINE tm_vec tm_mul(tm_vec a, tm_vec b) {
  return a * b;
}
TM_INLINE tm_vec tm_div(tm_vec a, tm_vec b) {
  return a / b;
}
TM_INLINE tm_vec tm_less(tm_vec a, tm_vec b, tm_vec x, tm_vec y) {
#if TM_LANES == 1
  return a < b ? x : y;
#else
  const tm_bits chosen = a < b;
  return (tm_vec)(((tm_bits)x & chosen) | ((tm_bits)y & ~chosen));
#endif
}
TM_INLINE tm_vec tm_min(tm_vec a, tm_vec b) {
  return tm_less(a, b, a, b);
}
TM_INLINE tm_vec tm_max(tm_vec a, tm_vec b) {
  return tm_less(b, a, a, b);
}

#endif

#if !defined(TM_AVX512)
#if !defined(TM_AVX2)
/* The first `count` floats, the rest zeros. */
TM_INLINE tm_vec tm_load_some(const float *p, int32_t count) {
  float lanes[TM_LANES] = {0};
  memcpy(lanes, p, (size_t)count * sizeof(float));
  return tm_load(lanes);
}
TM_INLINE void tm_store_some(float *p, int32_t count, tm_vec x) {
  float lanes[TM_LANES];
  tm_store(lanes, x);
  memcpy(p, lanes, (size_t)count * sizeof(float));
}
#endif
TM_INLINE float tm_total(tm_vec x) {
  float lanes[TM_LANES], sum = 0.0f;
  tm_store(lanes, x);
  for (int32_t i = 0; i < TM_LANES; ++i) {
    sum += lanes[i];
  }
  return sum;
}
TM_INLINE float tm_largest(tm_vec x) {
  float lanes[TM_LANES];
  tm_store(lanes, x);
  for (int32_t i = 1; i < TM_LANES; ++i) {
    lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
  }
  return lanes[0];
}
#endif

/* 1 to TM_LANES floats, the rest zeros. */
TM_INLINE tm_vec tm_load_up_to(const float *p, int32_t count) {
  return count >= TM_LANES ? tm_load(p) : tm_load_some(p, count);
}
TM_INLINE void tm_store_up_to(float *p, int32_t count, tm_vec x) {
  if (count >= TM_LANES) {
    tm_store(p, x);
  } else {
    tm_store_some(p, count, x);
  }
}

/* x 2^n for whole n from -126 to 127 */
TM_INLINE tm_vec tm_scale_by_power(tm_vec x, tm_vec n) {
#if defined(TM_AVX512)
  return _mm512_scalef_ps(x, n);
#elif defined(TM_AVX2)
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
#elif defined(TM_NEON)
  const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
  return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
#else
  float lanes[TM_LANES], powers[TM_LANES];
  tm_store(lanes, n);
  for (int32_t i = 0; i < TM_LANES; ++i) {
    /* a NaN, for which there is no integer, stands in x as well */
    const int32_t whole = lanes[i] >= -126.0f && lanes[i] <= 127.0f ? (int32_t)lanes[i] : 0;
    const uint32_t bits = (uint32_t)(whole + 127) << 23;
    memcpy(&powers[i], &bits, sizeof bits);
  }
  return tm_mul(x, tm_load(powers));
#endif
}

/* The nearest whole number, for |x| < 2^22. */
TM_INLINE tm_vec tm_nearest(tm_vec x) {
#if defined(TM_AVX512)
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(TM_AVX2)
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(TM_NEON)
  return vrndnq_f32(x);
#else
  const tm_vec shift = tm_set(12582912.0f); /* 1.5 * 2^23: its last bit counts ones */
  return tm_sub(tm_add(x, shift), shift);
#endif
}

/* e^x, to 2 units in the last place; beyond +-87.3 the value there. NaN gives NaN. */
TM_INLINE tm_vec tm_exp(tm_vec x) {
  x = tm_max(tm_set(-87.3f), tm_min(tm_set(87.3f), x));
  const tm_vec n = tm_nearest(tm_mul(x, tm_set(1.44269504f)));
  /* ln 2 in two parts, the first short enough that n times it is exact */
  tm_vec r = tm_fma(n, tm_set(-0.693359375f), x);
  r = tm_fma(n, tm_set(2.12194440e-4f), r);
  /* e^r = 1 + r + r^2 p(r) on +-ln 2 / 2 (coefficients of Cephes' expf) */
  tm_vec p = tm_set(1.9875691500e-4f);
  p = tm_fma(p, r, tm_set(1.3981999507e-3f));
  p = tm_fma(p, r, tm_set(8.3334519073e-3f));
  p = tm_fma(p, r, tm_set(4.1665795894e-2f));
  p = tm_fma(p, r, tm_set(1.6666665459e-1f));
  p = tm_fma(p, r, tm_set(5.0000001201e-1f));
  p = tm_fma(tm_mul(r, r), p, tm_add(r, tm_set(1.0f)));
  return tm_scale_by_power(p, n);
}

TM_INLINE tm_vec tm_sigmoid(tm_vec x) {
  const tm_vec one = tm_set(1.0f);
  return tm_div(one, tm_add(one, tm_exp(tm_sub(tm_set(0.0f), x))));
}

TM_INLINE tm_vec tm_tanh(tm_vec x) {
  const tm_vec one = tm_set(1.0f), two = tm_set(2.0f), zero = tm_set(0.0f);
  const tm_vec size = tm_max(tm_sub(zero, x), x);
  const tm_vec far = tm_sub(one, tm_div(two, tm_add(tm_exp(tm_add(size, size)), one)));
  const tm_vec signed_far = tm_less(x, zero, tm_sub(zero, far), far);
  /* Near 0 the difference above cancels; there the series of Cephes' tanhf. */
  const tm_vec square = tm_mul(x, x);
  tm_vec p = tm_set(-5.70498872745e-3f);
  p = tm_fma(p, square, tm_set(2.06390887954e-2f));
  p = tm_fma(p, square, tm_set(-5.37397155531e-2f));
  p = tm_fma(p, square, tm_set(1.33314422036e-1f));
  p = tm_fma(p, square, tm_set(-3.33332819422e-1f));
  const tm_vec near = tm_fma(tm_mul(p, square), x, x);
  return tm_less(size, tm_set(0.625f), near, signed_far);
}

#endif
