// From the outputs of a model to detections: boxes decoded, scores above a threshold, greedy suppression
// within each class. C++11, no heap, no libraries but <cmath>. The same as mkd_tf's own post-process and
// TFLite_Detection_PostProcess with regular suppression.
#pragma once

#include <cmath>

namespace mkd {

struct Detection {
  float ymin, xmin, ymax, xmax;  // fractions of the input, 0 to 1
  float score;                   // 0 to 1
  int label;                     // index into kLabels
};

inline float Overlap(const Detection& a, const Detection& b) {
  const float height = std::fmin(a.ymax, b.ymax) - std::fmax(a.ymin, b.ymin);
  const float width = std::fmin(a.xmax, b.xmax) - std::fmax(a.xmin, b.xmin);
  const float both = std::fmax(height, 0.f) * std::fmax(width, 0.f);
  const float first = std::fmax(a.ymax - a.ymin, 0.f) * std::fmax(a.xmax - a.xmin, 0.f);
  const float second = std::fmax(b.ymax - b.ymin, 0.f) * std::fmax(b.xmax - b.xmin, 0.f);
  return both / std::fmax(first + second - both, 1e-12f);
}

inline float Clipped(float x) { return std::fmin(std::fmax(x, 0.f), 1.f); }

// Returns how many detections were written to `found`, best first, at most `capacity`.
//
// encodings: `count` rows of (ty, tx, th, tw); logits: `count` rows of `classes`; anchors: `count` rows of
// (ycenter, xcenter, height, width) as fractions of the input. Each round walks all scores once for the
// best that is left, so that no memory but `found` is needed: choose `capacity` small.
inline int Decode(const float* encodings, const float* logits, const float (*anchors)[4], int count,
                  int classes, float threshold, Detection* found, int capacity, float max_overlap = 0.6f,
                  float center_scale = 10.f, float size_scale = 5.f) {
  // Scores are compared as logits: no exponential for what is not shown.
  const float least = threshold <= 0.f ? -1e30f : threshold >= 1.f ? 1e30f : std::log(threshold / (1.f - threshold));
  int kept = 0, last = -1;  // last: the place of the score of the round before
  float before = 1e30f;
  while (kept < capacity) {
    int best = -1;
    for (int i = 0; i < count * classes; ++i) {
      // Behind the round before: lower, or as high and of a later label, then a later anchor.
      const bool same = last >= 0 && logits[i] == before;
      const bool later = same && (i % classes > last % classes || (i % classes == last % classes && i > last));
      if (logits[i] < least || !(logits[i] < before || later)) continue;
      const bool higher = best < 0 || logits[i] > logits[best];
      const bool earlier = best >= 0 && logits[i] == logits[best] && i % classes < best % classes;
      if (higher || earlier) best = i;
    }
    if (best < 0) break;
    last = best;
    before = logits[best];
    const int row = best / classes;
    const float* t = encodings + 4 * row;
    const float* a = anchors[row];
    const float y = t[0] / center_scale * a[2] + a[0], x = t[1] / center_scale * a[3] + a[1];
    const float h = std::exp(t[2] / size_scale) * a[2], w = std::exp(t[3] / size_scale) * a[3];
    const Detection box = {y - h / 2, x - w / 2, y + h / 2, x + w / 2, 1.f / (1.f + std::exp(-before)), best % classes};
    bool covered = false;
    for (int i = 0; i < kept && !covered; ++i)
      covered = found[i].label == box.label && Overlap(found[i], box) > max_overlap;
    if (!covered) found[kept++] = box;
  }
  for (int i = 0; i < kept; ++i) {
    found[i].ymin = Clipped(found[i].ymin);
    found[i].xmin = Clipped(found[i].xmin);
    found[i].ymax = Clipped(found[i].ymax);
    found[i].xmax = Clipped(found[i].xmax);
  }
  return kept;
}

}  // namespace mkd
