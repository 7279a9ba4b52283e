// Detects objects on a microcontroller with TensorFlow Lite Micro. Give it a camera: `ReadImage` below.
#include <cstdint>
#include <cstdio>

#include "decode.h"
#include "student_micro.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

static_assert(mkd::kArenaBytes > 0, "the arena was not measured: see the header");
alignas(16) uint8_t arena[mkd::kArenaBytes];
constexpr int kCapacity = 25;
mkd::Detection found[kCapacity];

// Writes RGB pixels, row by row from the top, 3 * kImageSize * kImageSize bytes. An image of another shape is
// stretched to the square, or, where kLetterbox is true, scaled into its top left corner; the rest is zero.
bool ReadImage(uint8_t* pixels);

}  // namespace

int main() {
  const tflite::Model* model = tflite::GetModel(mkd::kModel);
  tflite::MicroMutableOpResolver<mkd::kOperatorCount> resolver;
  mkd::AddOperators(resolver);
  tflite::MicroInterpreter interpreter(model, resolver, arena, sizeof(arena));
  if (interpreter.AllocateTensors() != kTfLiteOk) return 1;
  while (ReadImage(interpreter.input(0)->data.uint8)) {
    if (interpreter.Invoke() != kTfLiteOk) return 1;
    const float* encodings = interpreter.output(0)->data.f;
    const float* logits = interpreter.output(1)->data.f;
    const int count = mkd::Decode(encodings, logits, mkd::kAnchors, mkd::kAnchorCount, mkd::kClassCount,
                                  mkd::kScoreThreshold, found, kCapacity);
    for (int i = 0; i < count; ++i) {
      const mkd::Detection& d = found[i];
      std::printf("%s %.2f, y %.2f to %.2f, x %.2f to %.2f\n", mkd::kLabels[d.label], d.score, d.ymin, d.ymax,
                  d.xmin, d.xmax);
    }
  }
  return 0;
}

namespace {

bool ReadImage(uint8_t* pixels) {
  (void)pixels;
  return false;  // no camera yet
}

}  // namespace
