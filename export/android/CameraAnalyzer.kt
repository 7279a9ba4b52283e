package mkd.detector

import android.content.Context
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import androidx.lifecycle.LifecycleOwner
import java.util.concurrent.Executor

/** Runs a detector on CameraX frames; [onFound] gets the objects and the upright frame's size. */
class CameraAnalyzer(
    private val detector: Detector,
    private val onFound: (found: List<Found>, width: Int, height: Int) -> Unit,
) : ImageAnalysis.Analyzer {
    override fun analyze(image: ImageProxy) {
        // A frame that is not closed stops the camera.
        image.use {
            val image = upright(it.toBitmap(), it.imageInfo.rotationDegrees)
            onFound(detector.detect(image), image.width, image.height)
        }
    }
}

/**
 * Shows the back camera in [view] and sends its frames to [analyzer] on [executor].
 *
 * One thread in the executor: a detector is not for two at once. The app must hold the
 * CAMERA permission by then.
 */
fun startCamera(
    context: Context,
    owner: LifecycleOwner,
    view: PreviewView,
    analyzer: CameraAnalyzer,
    executor: Executor,
) {
    val coming = ProcessCameraProvider.getInstance(context)
    val onceThere = Runnable {
        val preview = Preview.Builder().build()
        preview.setSurfaceProvider(view.surfaceProvider)
        val analysis = ImageAnalysis.Builder()
            .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
            .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
            .build()
        analysis.setAnalyzer(executor, analyzer)
        val provider = coming.get()
        provider.unbindAll()
        provider.bindToLifecycle(owner, CameraSelector.DEFAULT_BACK_CAMERA, preview, analysis)
    }
    coming.addListener(onceThere, ContextCompat.getMainExecutor(context))
}
