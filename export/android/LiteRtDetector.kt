package mkd.detector

import android.content.Context
import android.graphics.Bitmap
import android.graphics.RectF
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/** The file of raw heads for GPUs: `mkd export --formats="tflite(quantization='float16', postprocess='raw')"`. */
const val RAW_ASSET = "student_float16_raw.tflite"

/**
 * A file of raw heads in LiteRT's CompiledModel, on the GPU.
 *
 * The post-process in other files is an operator for the CPU alone, on which a GPU fails: this class decodes in
 * Kotlin. With `Accelerator.CPU` it takes the int8 file of raw heads too. Use it on the thread that made it.
 */
class LiteRtDetector(
    context: Context,
    asset: String = RAW_ASSET,
    accelerator: Accelerator = Accelerator.GPU,
    scoreThreshold: Float? = null,
    private val maxResults: Int = 25,
    private val takesBytes: Boolean = "int8" in asset,
) : Detector {
    private val files = packedFiles(context.assets.open(asset).use { it.readBytes() })
    private val anchors = anchorsOf(files)

    /** What the file says of itself. */
    val facts = factsOf(files)
    private val threshold = scoreThreshold ?: facts.scoreThreshold
    private val model = CompiledModel.create(context.assets, asset, CompiledModel.Options(accelerator))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    override fun detect(image: Bitmap): List<Found> {
        val whole = if (facts.isLetterbox) letterboxed(image) else image
        val side = facts.imageSize
        val scaled = Bitmap.createScaledBitmap(whole, side, side, true)
        val pixels = IntArray(side * side)
        scaled.getPixels(pixels, 0, side, 0, 0, side, side)
        // Red, green and blue of each pixel, 0 to 255.
        val colours = { place: Int -> pixels[place / 3] shr (16 - 8 * (place % 3)) and 0xff }
        if (takesBytes) {
            inputs[0].writeInt8(ByteArray(3 * pixels.size) { colours(it).toByte() })
        } else {
            inputs[0].writeFloat(FloatArray(3 * pixels.size) { colours(it).toFloat() })
        }
        model.run(inputs, outputs)
        val decoded = decode(outputs[0].readFloat(), outputs[1].readFloat(), anchors, threshold, maxResults)
        val found = decoded.map {
            val (ymin, xmin, ymax, xmax) = it.box.toList()
            val box = RectF(xmin * whole.width, ymin * whole.height, xmax * whole.width, ymax * whole.height)
            Found(facts.labels[it.label], it.score, box)
        }
        return insideImage(found, image.width, image.height)
    }

    override fun close() {
        (inputs + outputs).forEach { it.close() }
        model.close()
    }
}
