import groovy.transform.CompileStatic

import com.sun.jna.Function
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.Path
import java.nio.file.attribute.PosixFilePermission

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
     *
     * By its number, which must be nobody else's: nobody but us knows of what was left open, so that its number goes to
     * no other file between the look at it and the closing, unless that block is closed twice at once; hence the lock.
     */
    private static synchronized void closeDescriptors(String name) {
        File[] open = DESCRIPTORS.listFiles()
        for (File descriptor : open == null ? new File[0] : open) {
            if (isLeft(descriptor.toPath(), name)) {
                Function.getFunction("c", "close").invokeInt([Integer.parseInt(descriptor.getName())] as Object[])
            }
        }
    }

    /** Tells what was left open of a block from what Appose still uses: only the latter may be written to. */
    private static boolean isLeft(Path descriptor, String name) {
        try {
            Set<PosixFilePermission> rights = Files.getPosixFilePermissions(descriptor, LinkOption.NOFOLLOW_LINKS)
            String block = Files.readSymbolicLink(descriptor).toString()
            return !(PosixFilePermission.OWNER_WRITE in rights) &&
                (block == "/dev/shm/" + name || block == "/dev/shm/" + name + " (deleted)")
        } catch (IOException closed) {  // between listing and looking
            return false
        }
    }
}
