package mkd.detector

import kotlin.math.exp
import kotlin.math.max
import kotlin.math.min

/** One object as the model gives it: [box] is ymin, xmin, ymax, xmax as fractions of the input. */
class Decoded(val label: Int, val score: Float, val box: FloatArray)

private const val CENTER_SCALE = 10f
private const val SIZE_SCALE = 5f
private const val MAX_OVERLAP = 0.6f

private fun area(box: FloatArray): Float = max(box[2] - box[0], 0f) * max(box[3] - box[1], 0f)

private fun overlap(a: FloatArray, b: FloatArray): Float {
    val height = max(min(a[2], b[2]) - max(a[0], b[0]), 0f)
    val width = max(min(a[3], b[3]) - max(a[1], b[1]), 0f)
    return height * width / max(area(a) + area(b) - height * width, 1e-12f)
}

private fun decodedBox(encodings: FloatArray, row: Int, anchor: FloatArray): FloatArray {
    val y = encodings[4 * row] / CENTER_SCALE * anchor[2] + anchor[0]
    val x = encodings[4 * row + 1] / CENTER_SCALE * anchor[3] + anchor[1]
    val height = exp(encodings[4 * row + 2] / SIZE_SCALE) * anchor[2]
    val width = exp(encodings[4 * row + 3] / SIZE_SCALE) * anchor[3]
    return floatArrayOf(y - height / 2, x - width / 2, y + height / 2, x + width / 2)
}

/**
 * Returns the objects in raw heads, best first, at most [maxResults].
 *
 * [encodings] has 4 numbers for each anchor, [logits] one for each anchor and class. Boxes of one class that
 * overlap a better one by more than 0.6 are dropped: the same as the post-process inside other files.
 */
fun decode(
    encodings: FloatArray,
    logits: FloatArray,
    anchors: Array<FloatArray>,
    scoreThreshold: Float,
    maxResults: Int,
): List<Decoded> {
    require(encodings.size == 4 * anchors.size && logits.size % anchors.size == 0) {
        "Expected ${4 * anchors.size} box encodings for ${anchors.size} anchors, got ${encodings.size}."
    }
    val classes = logits.size / anchors.size
    val candidates = logits.indices
        .map { it to 1f / (1f + exp(-logits[it])) }
        .filter { it.second >= scoreThreshold }
        .sortedWith(compareBy({ -it.second }, { it.first % classes }, { it.first }))
    val found = mutableListOf<Decoded>()
    for ((place, score) in candidates) {
        if (found.size == maxResults) break
        val label = place % classes
        val box = decodedBox(encodings, place / classes, anchors[place / classes])
        if (found.none { it.label == label && overlap(it.box, box) > MAX_OVERLAP }) {
            found.add(Decoded(label, score, box))
        }
    }
    return found.map { d -> Decoded(d.label, d.score, FloatArray(4) { min(max(d.box[it], 0f), 1f) }) }
}
