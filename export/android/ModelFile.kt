package mkd.detector

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** Where a file in the archive is, and how long. */
private const val END_MARK = 0x06054b50
private const val ENTRY_MARK = 0x02014b50
private const val END_SIZE = 22
private const val ENTRY_SIZE = 46
private const val LOCAL_SIZE = 30
private const val LONGEST_COMMENT = 65535

/**
 * Returns the files in the archive at the end of a model, by name; none where there is no archive.
 *
 * They are stored as they are (no compression): labels.txt, mkd_tf.json and, with raw heads, anchors.csv.
 */
fun packedFiles(content: ByteArray): Map<String, ByteArray> {
    val bytes = ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN)
    val first = maxOf(0, content.size - END_SIZE - LONGEST_COMMENT)
    val end = (content.size - END_SIZE downTo first).firstOrNull { bytes.getInt(it) == END_MARK } ?: return emptyMap()
    val files = mutableMapOf<String, ByteArray>()
    var entry = bytes.getInt(end + 16)
    repeat(bytes.getShort(end + 10).toInt()) {
        require(bytes.getInt(entry) == ENTRY_MARK) { "The model's archive is damaged: copy the model again." }
        val size = bytes.getInt(entry + 20)
        val nameSize = bytes.getShort(entry + 28).toInt()
        val name = String(content, entry + ENTRY_SIZE, nameSize, Charsets.UTF_8)
        val local = bytes.getInt(entry + 42)
        val start = local + LOCAL_SIZE + bytes.getShort(local + 26) + bytes.getShort(local + 28)
        files[name] = content.copyOfRange(start, start + size)
        entry += ENTRY_SIZE + nameSize + bytes.getShort(entry + 30) + bytes.getShort(entry + 32)
    }
    return files
}

/** Returns the anchors of a model with raw heads: rows of ycenter, xcenter, height, width, as fractions. */
fun anchorsOf(files: Map<String, ByteArray>): Array<FloatArray> {
    val text = requireNotNull(files["anchors.csv"]) { "No anchors inside: export the model with --postprocess=raw." }
    val lines = String(text, Charsets.UTF_8).trim().lines()
    require(lines.first() == "ycenter,xcenter,height,width") { "Anchors of another form: export the model again." }
    return Array(lines.size - 1) { row ->
        lines[row + 1].split(",").map { it.toFloat() }.toFloatArray()
    }
}
