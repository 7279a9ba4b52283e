package mkd.detector

import android.content.Context
import android.graphics.Bitmap
import com.google.mediapipe.framework.image.BitmapImageBuilder
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.core.Delegate
import com.google.mediapipe.tasks.vision.core.RunningMode
import com.google.mediapipe.tasks.vision.objectdetector.ObjectDetector

/**
 * The exported file in MediaPipe's ObjectDetector. Labels come from the file.
 *
 * The library has no option for the number of threads.
 */
class MediaPipeDetector(
    context: Context,
    val facts: ModelFacts = modelFacts(context),
    scoreThreshold: Float = facts.scoreThreshold,
    maxResults: Int = 25,
    private val letterbox: Boolean = facts.isLetterbox,
    delegate: Delegate = Delegate.CPU,
) : Detector {
    private val client: ObjectDetector

    init {
        val base = BaseOptions.builder()
            .setModelAssetPath(MODEL_ASSET)
            .setDelegate(delegate)
            .build()
        val options = ObjectDetector.ObjectDetectorOptions.builder()
            .setBaseOptions(base)
            .setRunningMode(RunningMode.IMAGE)
            .setScoreThreshold(scoreThreshold)
            .setMaxResults(maxResults)
            .build()
        client = ObjectDetector.createFromOptions(context, options)
    }

    override fun detect(image: Bitmap): List<Found> {
        val input = if (letterbox) letterboxed(image) else image
        val result = client.detect(BitmapImageBuilder(input).build())
        // One detection tells every class that has the same box.
        val found = result.detections().flatMap { detection ->
            detection.categories().map { Found(it.categoryName(), it.score(), detection.boundingBox()) }
        }
        return insideImage(found.sortedByDescending { it.score }, image.width, image.height)
    }

    override fun close() = client.close()
}
