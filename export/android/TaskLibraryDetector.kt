package mkd.detector

import android.content.Context
import android.graphics.Bitmap
import org.tensorflow.lite.support.image.TensorImage
import org.tensorflow.lite.task.core.BaseOptions
import org.tensorflow.lite.task.vision.detector.ObjectDetector

/**
 * The exported file in the TFLite Task Library's ObjectDetector. Labels come from the file.
 *
 * One thread: the post-process operator of newer runtimes shares out the classes among the threads
 * and loses one of them where their number is no multiple of the threads' (seen in LiteRT 2.3).
 */
class TaskLibraryDetector(
    context: Context,
    val facts: ModelFacts = modelFacts(context),
    scoreThreshold: Float = facts.scoreThreshold,
    maxResults: Int = 25,
    threads: Int = 1,
    private val letterbox: Boolean = facts.isLetterbox,
) : Detector {
    private val client: ObjectDetector

    init {
        // useNnapi() and useGpu() of this builder are the delegates; neither was measured.
        val base = BaseOptions.builder().setNumThreads(threads).build()
        val options = ObjectDetector.ObjectDetectorOptions.builder()
            .setBaseOptions(base)
            .setScoreThreshold(scoreThreshold)
            .setMaxResults(maxResults)
            .build()
        client = ObjectDetector.createFromFileAndOptions(context, MODEL_ASSET, options)
    }

    override fun detect(image: Bitmap): List<Found> {
        val input = if (letterbox) letterboxed(image) else image
        val found = client.detect(TensorImage.fromBitmap(input)).flatMap { detection ->
            detection.categories.map { Found(it.label, it.score, detection.boundingBox) }
        }
        return insideImage(found.sortedByDescending { it.score }, image.width, image.height)
    }

    override fun close() = client.close()
}
