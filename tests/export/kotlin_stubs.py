"""The public signatures, of the libraries that the Android kit uses, against which its Kotlin is compiled.

Written after the libraries' documentation: Android SDK, CameraX 1.3, MediaPipe tasks-vision 0.10, TFLite Task
Library 0.4, LiteRT 2. Bodies never run, but for those of org.json, which reads what a file says of itself.
"""

from pathlib import Path

STUBS = {
    "android.content": """
open class Context { val assets: android.content.res.AssetManager get() = TODO() }
""",
    "android.content.res": """
class AssetManager { fun open(name: String): java.io.InputStream = TODO() }
""",
    "android.graphics": """
class Bitmap private constructor() {
    enum class Config { ARGB_8888, RGB_565 }
    val width: Int get() = TODO()
    val height: Int get() = TODO()
    var density: Int get() = TODO()
        set(value) = TODO()
    val config: Config? get() = TODO()
    fun copy(config: Config, isMutable: Boolean): Bitmap = TODO()
    fun getPixels(
        to: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int,
    ): Unit = TODO()
    companion object {
        fun createBitmap(width: Int, height: Int, config: Config): Bitmap = TODO()
        fun createBitmap(
            from: Bitmap, x: Int, y: Int, width: Int, height: Int, matrix: Matrix?, filter: Boolean,
        ): Bitmap = TODO()
        fun createScaledBitmap(from: Bitmap, width: Int, height: Int, filter: Boolean): Bitmap = TODO()
    }
}
class Paint
class Canvas(bitmap: Bitmap) {
    fun drawColor(color: Int): Unit = TODO()
    fun drawBitmap(bitmap: Bitmap, left: Float, top: Float, paint: Paint?): Unit = TODO()
}
object Color { const val BLACK: Int = 0 }
class Matrix { fun postRotate(degrees: Float): Boolean = TODO() }
class RectF(
    @JvmField var left: Float, @JvmField var top: Float,
    @JvmField var right: Float, @JvmField var bottom: Float,
) {
    constructor(other: RectF) : this(0f, 0f, 0f, 0f)
    fun intersect(left: Float, top: Float, right: Float, bottom: Float): Boolean = TODO()
}
""",
    "org.json": r"""
private class Reader(private val text: String) {
    private var at = 0
    private fun next(): Char { while (text[at].isWhitespace()) at++; return text[at] }
    private fun take(mark: Char): Boolean = (next() == mark).also { if (it) at++ }
    fun value(): Any? = when (next()) {
        '{' -> JSONObject(listed('{', '}') { string().also { check(take(':')) } to value() }.toMap())
        '[' -> JSONArray(listed('[', ']') { value() })
        '"' -> string()
        else -> {
            val start = at
            while (at < text.length && text[at] !in ",]} ") at++
            text.substring(start, at).let { if (it == "null") null else it }
        }
    }
    private fun <T> listed(first: Char, last: Char, item: () -> T): List<T> {
        val found = mutableListOf<T>()
        check(take(first))
        while (!take(last)) { found.add(item()); take(',') }
        return found
    }
    private fun string(): String {
        val found = StringBuilder()
        check(take('"'))
        while (text[at] != '"') {
            if (text[at] != '\\') { found.append(text[at++]); continue }
            val escaped = text[at + 1]
            at += 2
            if (escaped == 'u') {
                found.append(text.substring(at, at + 4).toInt(16).toChar())
                at += 4
            } else {
                val places = "ntrbf".indexOf(escaped)
                found.append(if (places < 0) escaped else "\n\t\r\b\u000c"[places])
            }
        }
        at++
        return found.toString()
    }
}
class JSONObject internal constructor(private val values: Map<String, Any?>) {
    constructor(text: String) : this((Reader(text).value() as JSONObject).values)
    fun getString(name: String): String = values.getValue(name) as String
    fun getInt(name: String): Int = (values.getValue(name) as String).toInt()
    fun getDouble(name: String): Double = (values.getValue(name) as String).toDouble()
    fun getJSONArray(name: String): JSONArray = values.getValue(name) as JSONArray
    fun optJSONObject(name: String): JSONObject? = values[name] as? JSONObject
}
class JSONArray internal constructor(private val values: List<Any?>) {
    fun length(): Int = values.size
    fun getString(index: Int): String = values[index] as String
}
""",
    "androidx.core.content": """
object ContextCompat {
    fun getMainExecutor(context: android.content.Context): java.util.concurrent.Executor = TODO()
}
""",
    "androidx.lifecycle": "interface LifecycleOwner\n",
    "androidx.camera.core": """
abstract class UseCase
interface ImageInfo { val rotationDegrees: Int }
interface ImageProxy : AutoCloseable {
    val imageInfo: ImageInfo
    fun toBitmap(): android.graphics.Bitmap
}
class CameraSelector private constructor() {
    companion object { val DEFAULT_BACK_CAMERA: CameraSelector get() = TODO() }
}
class Preview : UseCase() {
    interface SurfaceProvider
    fun setSurfaceProvider(provider: SurfaceProvider?): Unit = TODO()
    class Builder { fun build(): Preview = TODO() }
}
class ImageAnalysis : UseCase() {
    interface Analyzer { fun analyze(image: ImageProxy) }
    fun setAnalyzer(executor: java.util.concurrent.Executor, analyzer: Analyzer): Unit = TODO()
    class Builder {
        fun setBackpressureStrategy(strategy: Int): Builder = TODO()
        fun setOutputImageFormat(format: Int): Builder = TODO()
        fun build(): ImageAnalysis = TODO()
    }
    companion object {
        const val STRATEGY_KEEP_ONLY_LATEST: Int = 0
        const val OUTPUT_IMAGE_FORMAT_RGBA_8888: Int = 2
    }
}
""",
    "androidx.camera.view": """
class PreviewView { val surfaceProvider: androidx.camera.core.Preview.SurfaceProvider get() = TODO() }
""",
    "androidx.camera.lifecycle": """
interface Coming<T> : java.util.concurrent.Future<T> {
    fun addListener(listener: Runnable, executor: java.util.concurrent.Executor)
}
class ProcessCameraProvider {
    fun unbindAll(): Unit = TODO()
    fun bindToLifecycle(
        owner: androidx.lifecycle.LifecycleOwner,
        selector: androidx.camera.core.CameraSelector,
        vararg cases: androidx.camera.core.UseCase?,
    ): Any = TODO()
    companion object {
        fun getInstance(context: android.content.Context): Coming<ProcessCameraProvider> = TODO()
    }
}
""",
    "com.google.mediapipe.framework.image": """
class MPImage
class BitmapImageBuilder(bitmap: android.graphics.Bitmap) { fun build(): MPImage = TODO() }
""",
    "com.google.mediapipe.tasks.core": """
enum class Delegate { CPU, GPU }
abstract class BaseOptions {
    abstract class Builder {
        abstract fun setModelAssetPath(path: String): Builder
        abstract fun setDelegate(delegate: Delegate): Builder
        abstract fun build(): BaseOptions
    }
    companion object { @JvmStatic fun builder(): Builder = TODO() }
}
""",
    "com.google.mediapipe.tasks.vision.core": "enum class RunningMode { IMAGE, VIDEO, LIVE_STREAM }\n",
    "com.google.mediapipe.tasks.components.containers": """
abstract class Category { abstract fun score(): Float; abstract fun categoryName(): String }
abstract class Detection {
    abstract fun categories(): List<Category>
    abstract fun boundingBox(): android.graphics.RectF
}
""",
    "com.google.mediapipe.tasks.vision.objectdetector": """
import com.google.mediapipe.tasks.core.BaseOptions
import com.google.mediapipe.tasks.vision.core.RunningMode
abstract class ObjectDetectorResult {
    abstract fun detections(): List<com.google.mediapipe.tasks.components.containers.Detection>
}
class ObjectDetector private constructor() : AutoCloseable {
    fun detect(image: com.google.mediapipe.framework.image.MPImage): ObjectDetectorResult = TODO()
    override fun close(): Unit = TODO()
    abstract class ObjectDetectorOptions {
        abstract class Builder {
            abstract fun setBaseOptions(value: BaseOptions): Builder
            abstract fun setRunningMode(value: RunningMode): Builder
            abstract fun setScoreThreshold(value: Float): Builder
            abstract fun setMaxResults(value: Int): Builder
            abstract fun build(): ObjectDetectorOptions
        }
        companion object { @JvmStatic fun builder(): Builder = TODO() }
    }
    companion object {
        @JvmStatic
        fun createFromOptions(
            context: android.content.Context, options: ObjectDetectorOptions,
        ): ObjectDetector = TODO()
    }
}
""",
    "org.tensorflow.lite.support.image": """
class TensorImage private constructor() {
    companion object { @JvmStatic fun fromBitmap(bitmap: android.graphics.Bitmap): TensorImage = TODO() }
}
""",
    "org.tensorflow.lite.support.label": """
class Category {
    val label: String get() = TODO()
    val score: Float get() = TODO()
}
""",
    "org.tensorflow.lite.task.core": """
abstract class BaseOptions {
    abstract class Builder {
        abstract fun setNumThreads(value: Int): Builder
        abstract fun build(): BaseOptions
    }
    companion object { @JvmStatic fun builder(): Builder = TODO() }
}
""",
    "org.tensorflow.lite.task.vision.detector": """
import org.tensorflow.lite.task.core.BaseOptions
class Detection {
    val categories: List<org.tensorflow.lite.support.label.Category> get() = TODO()
    val boundingBox: android.graphics.RectF get() = TODO()
}
class ObjectDetector private constructor() : AutoCloseable {
    fun detect(image: org.tensorflow.lite.support.image.TensorImage): List<Detection> = TODO()
    override fun close(): Unit = TODO()
    abstract class ObjectDetectorOptions {
        abstract class Builder {
            abstract fun setBaseOptions(value: BaseOptions): Builder
            abstract fun setScoreThreshold(value: Float): Builder
            abstract fun setMaxResults(value: Int): Builder
            abstract fun build(): ObjectDetectorOptions
        }
        companion object { @JvmStatic fun builder(): Builder = TODO() }
    }
    companion object {
        @JvmStatic
        fun createFromFileAndOptions(
            context: android.content.Context, path: String, options: ObjectDetectorOptions,
        ): ObjectDetector = TODO()
    }
}
""",
    "com.google.ai.edge.litert": """
enum class Accelerator { NONE, CPU, GPU, NPU }
class TensorBuffer : AutoCloseable {
    fun writeFloat(data: FloatArray): Unit = TODO()
    fun writeInt8(data: ByteArray): Unit = TODO()
    fun readFloat(): FloatArray = TODO()
    override fun close(): Unit = TODO()
}
class Environment
class CompiledModel private constructor() : AutoCloseable {
    class Options(vararg accelerators: Accelerator)
    fun createInputBuffers(): List<TensorBuffer> = TODO()
    fun createOutputBuffers(): List<TensorBuffer> = TODO()
    fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>): Unit = TODO()
    override fun close(): Unit = TODO()
    companion object {
        @JvmStatic
        fun create(
            assets: android.content.res.AssetManager, name: String,
            options: Options = TODO(), environment: Environment? = null,
        ): CompiledModel = TODO()
    }
}
""",
}


def write_stubs(folder: Path) -> list[Path]:
    """Writes a file for each package; returns their paths."""
    paths = []
    for package, text in STUBS.items():
        path = folder / f"{package}.kt"
        path.write_text(f"package {package}\n{text}")
        paths.append(path)
    return paths
