import groovy.transform.CompileStatic

import com.sun.jna.Function
import java.nio.file.Files
import java.nio.file.Path

import org.apposed.appose.NDArray
import org.apposed.appose.SharedMemory

/** Arrays in the memory that both processes see. */
@CompileStatic
class Shared {

    private static final File DESCRIPTORS = new File("/proc/self/fd")

    /** Makes a block: what Appose lacks is missed here, not in its own thread, where nobody would hear of it. */
    static void check() {
        SharedMemory.create(8L).close()
    }

    /**
     * Does work with the class loader that has Appose as the thread's own: by that one Appose finds its shared memory,
     * and Groovy its JSON; threads that are made meanwhile inherit it.
     */
    static <T> T inOwnLoader(Closure<T> work) {
        Thread thread = Thread.currentThread()
        ClassLoader before = thread.getContextClassLoader()
        thread.setContextClassLoader(SharedMemory.getClassLoader())
        try {
            return work.call()
        } finally {
            thread.setContextClassLoader(before)
        }
    }

    /** Puts arrays in the place of what JSON says of them in lists: Appose itself looks for them in maps only. */
    static void attach(Map<String, Object> values) {
        for (Map.Entry<String, Object> one : values.entrySet()) {
            List listed = one.value instanceof List ? (List) one.value : []
            if (!listed.isEmpty() && isArray(listed.get(0))) {
                List<Object> arrays = new ArrayList<Object>()
                one.setValue(arrays)  // at once: should one fail, the others are closed
                for (Object described : listed) {
                    arrays.add(array((Map) described))
                }
            }
        }
    }

    private static boolean isArray(Object value) {
        return value instanceof Map && ((Map) value).get("appose_type") == "ndarray"
    }

    private static NDArray array(Map described) {
        Map memory = (Map) described.get("shm")
        int[] sizes = ((List<Number>) described.get("shape")).collect { Number size -> size.intValue() } as int[]
        return new NDArray(
            NDArray.DType.fromLabel(described.get("dtype").toString()),
            new NDArray.Shape(NDArray.Shape.Order.C_ORDER, sizes),
            SharedMemory.attach(memory.get("name").toString(), ((Number) memory.get("rsize")).longValue())
        )
    }

    /** Closes the arrays among values; closing one twice does no harm. */
    static void close(Object value) {
        if (value instanceof NDArray) {
            NDArray array = (NDArray) value
            array.close()
            closeDescriptors(array.shm().name())
        } else if (value instanceof Map) {
            ((Map) value).values().each { Object one -> close(one) }
        } else if (value instanceof List) {
            ((List) value).each { Object one -> close(one) }
        }
    }

    /**
     * Closes what Appose (0.5.1 to 0.9.0 on Linux) leaves open of a block that it has attached: it opens it twice, the
     * first time to see its size. Linux would keep the block's memory for as long as Fiji runs.
     */
    private static void closeDescriptors(String name) {
        File[] open = DESCRIPTORS.listFiles()
        if (open == null) {
            return
        }
        for (File descriptor : open) {
            String target
            try {
                Path link = Files.readSymbolicLink(descriptor.toPath())
                target = link.toString()
            } catch (IOException closed) {
                continue  // between listing and looking
            }
            if (target == "/dev/shm/" + name || target == "/dev/shm/" + name + " (deleted)") {
                Function.getFunction("c", "close").invokeInt([Integer.parseInt(descriptor.getName())] as Object[])
            }
        }
    }
}
