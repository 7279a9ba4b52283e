package mkd.detector

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Matrix
import android.graphics.RectF
import java.io.Closeable
import kotlin.math.max
import kotlin.math.min
import org.json.JSONObject

/** The file of the export folder, as it is called in app/src/main/assets. */
const val MODEL_ASSET = "student_int8.tflite"

/** One object: its label, its score in 0..1, and its box in pixels of the upright image. */
data class Found(val label: String, val score: Float, val box: RectF)

/** What all three libraries are used through. Not for two threads at once; close it when done. */
interface Detector : Closeable {
    /** Returns what is in [image], which must be upright (see [upright]); the best first. */
    fun detect(image: Bitmap): List<Found>
}

/**
 * What a file says of itself: it is the same whether its manifest is there or not.
 *
 * [sourceSha256] is that of the network it was made from, [scoreThreshold] the operating point, 0.3 where none was
 * measured; [isLetterbox] whether the network was trained on letterboxed images.
 */
data class ModelFacts(
    val version: String,
    val sourceSha256: String,
    val imageSize: Int,
    val isLetterbox: Boolean,
    val scoreThreshold: Float,
    val labels: List<String>,
)

/** Returns the facts in the files of [packedFiles]. */
fun factsOf(files: Map<String, ByteArray>): ModelFacts {
    val text = requireNotNull(files["mkd_tf.json"]) { "The model says nothing of itself: export it with mkd export." }
    val told = JSONObject(String(text, Charsets.UTF_8))
    val labels = told.getJSONArray("labels")
    return ModelFacts(
        version = told.getString("version"),
        sourceSha256 = told.getString("source_sha256"),
        imageSize = told.getInt("image_size"),
        isLetterbox = told.getString("fit") == "letterbox",
        scoreThreshold = told.optJSONObject("operating_point")?.getDouble("value")?.toFloat() ?: 0.3f,
        labels = List(labels.length()) { labels.getString(it) },
    )
}

/** Returns what the model in the assets says of itself. */
fun modelFacts(context: Context, asset: String = MODEL_ASSET): ModelFacts =
    factsOf(packedFiles(context.assets.open(asset).use { it.readBytes() }))

/** Returns [image] turned clockwise by [rotationDegrees], as CameraX and EXIF count them, in ARGB_8888. */
fun upright(image: Bitmap, rotationDegrees: Int): Bitmap {
    val turned = if (rotationDegrees == 0) {
        image
    } else {
        val matrix = Matrix().apply { postRotate(rotationDegrees.toFloat()) }
        Bitmap.createBitmap(image, 0, 0, image.width, image.height, matrix, true)
    }
    // Both libraries refuse other configurations.
    return if (turned.config == Bitmap.Config.ARGB_8888) turned else turned.copy(Bitmap.Config.ARGB_8888, false)
}

/**
 * Returns [image] in the top left corner of a black square.
 *
 * Both libraries stretch an image to the model's square input. Stretching this square keeps
 * the proportions, and pixel coordinates stay those of the image.
 */
fun letterboxed(image: Bitmap): Bitmap {
    val side = max(image.width, image.height)
    val square = Bitmap.createBitmap(side, side, Bitmap.Config.ARGB_8888)
    // The Canvas takes the density over and scales bitmaps of another one, as resources have.
    square.density = image.density
    Canvas(square).apply {
        drawColor(Color.BLACK)
        drawBitmap(image, 0f, 0f, null)
    }
    return square
}

/** Returns [found] clipped to an image of this size, without what lies outside it. */
fun insideImage(found: List<Found>, width: Int, height: Int): List<Found> =
    found.map { it.copy(box = RectF(it.box)) }
        .filter { it.box.intersect(0f, 0f, width.toFloat(), height.toFloat()) }

/**
 * Returns where a box of an upright image lies on a view that shows that image centred.
 *
 * [fills] is true for PreviewView's FILL_CENTER (its default) and ImageView's centerCrop, false
 * for FIT_CENTER and fitCenter. A front camera's preview is mirrored: then also exchange
 * left and right by `viewWidth - x`.
 */
fun toView(
    box: RectF,
    imageWidth: Int,
    imageHeight: Int,
    viewWidth: Int,
    viewHeight: Int,
    fills: Boolean = true,
): RectF {
    val across = viewWidth.toFloat() / imageWidth
    val down = viewHeight.toFloat() / imageHeight
    val scale = if (fills) max(across, down) else min(across, down)
    val left = (viewWidth - imageWidth * scale) / 2
    val top = (viewHeight - imageHeight * scale) / 2
    return RectF(
        left + box.left * scale,
        top + box.top * scale,
        left + box.right * scale,
        top + box.bottom * scale,
    )
}
